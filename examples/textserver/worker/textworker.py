"""A worker of the text server: a classifier, and the conversations that it follows.

    python3 textworker.py CORPUS

It learns from the corpus before it answers its host, so a worker that is ready has its
model in memory.
"""

from __future__ import annotations

import os
import sys

from poolproof_worker import MethodError, method, run, session

from classifier import Classifier, CorpusError, read, train

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, Optional

WRONG_TURN = 1  # the code of an error reply; its data names the turn that would be right

# Drawn here and kept beside the conversations, so that an answer tells which process, and
# thus which memory, it comes from.
INSTANCE = os.urandom(8).hex()


def load(path: str) -> Classifier:
    """Train on a file. The worker's last output is what its host reports of a failure."""
    try:
        with open(path, encoding="utf-8") as corpus:
            return train(read(corpus))
    except (CorpusError, OSError, UnicodeDecodeError) as error:
        sys.exit(f"cannot learn from {path}: {error}")


def answer(evidence: list[float], **more: Any) -> dict[str, Any]:
    """Return a reply that says what a text or a conversation is about."""
    ranked = model.rank(evidence)
    label = ranked[0]["label"] if any(evidence) else None  # no known word: no opinion
    return {"label": label, "labels": ranked, "instance": INSTANCE, **more}


@method
def classify(text: str) -> dict[str, Any]:
    """Say what one text is about."""
    return answer(model.weigh(text))


@method
def explain(text: str) -> Generator[dict[str, Any], None, None]:
    """Stream the words of a text that tell what it is about, the most telling first."""
    for word, label, score in model.telling(text):
        yield {"word": word, "label": label, "score": score}


@method
def say(conversation: str, text: str, turn: Optional[int] = None) -> dict[str, Any]:
    """Add a text to a conversation and say what that is about so far. If turn is given,
    it must be the number that this text gets; else nothing is changed."""
    state = session(conversation)
    coming = state.get("turns", 0) + 1
    if turn is not None and turn != coming:
        raise MethodError(f"the next turn is {coming}, not {turn}", WRONG_TURN, {"turn": coming})
    before = state.get("evidence", [0.0] * len(model.labels))
    state["evidence"] = [old + new for old, new in zip(before, model.weigh(text))]
    state["turns"] = coming
    return answer(state["evidence"], turn=coming)


if __name__ == "__main__":
    model = load(sys.argv[1])
    run()
