"""A naive Bayes classifier of short texts."""

from __future__ import annotations

import math
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SMOOTHING = 0.5  # how often every word is taken to have been seen in every topic besides

_WORD = re.compile(r"[^\W_]+")


class CorpusError(Exception):
    """The corpus is not what train needs."""


def words(text: str) -> list[str]:
    """Split a text into words without case; a plural counts as its singular."""
    return [
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        for word in _WORD.findall(text.casefold())
    ]


class Classifier:
    """What the words of a corpus say about topics. It never changes.

    The evidence of a word is, for each topic, the logarithm of how likely the word is
    there, less the mean of that over all topics: so a word that the corpus does not hold
    says nothing, and the evidence of several texts is the sum of theirs. All topics are
    taken to be equally likely beforehand.
    """

    def __init__(self, labels: list[str], evidence: dict[str, list[float]]) -> None:
        self.labels = labels
        self._evidence = evidence

    def weigh(self, text: str) -> list[float]:
        """Return the evidence of a text, in the order of the labels."""
        total = [0.0] * len(self.labels)
        for word in words(text):
            for i, weight in enumerate(self._evidence.get(word, ())):
                total[i] += weight
        return total

    def telling(self, text: str) -> list[tuple[str, str, float]]:
        """Return each known word of a text with the topic that it speaks for most, and how
        much it does in all; the most telling first."""
        found = {}
        for word in words(text):
            weights = self._evidence.get(word)
            if weights:
                best = max(range(len(weights)), key=weights.__getitem__)
                total = found[word][2] if word in found else 0.0
                found[word] = (word, self.labels[best], total + weights[best])
        return sorted(found.values(), key=lambda entry: (-entry[2], entry[0]))

    def rank(self, evidence: list[float]) -> list[dict[str, object]]:
        """Return the topics with score and probability, the likeliest first."""
        top = max(evidence)
        odds = [math.exp(weight - top) for weight in evidence]
        whole = sum(odds)
        ranked = sorted(zip(evidence, odds, self.labels), key=lambda entry: (-entry[0], entry[2]))
        return [
            {"label": label, "score": score, "probability": share / whole} for score, share, label in ranked
        ]


def read(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Parse lines of a label, a tab and a text; blank lines and those with # are skipped."""
    examples = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        label, tab, text = line.partition("\t")
        if not tab or not label.strip() or not words(text):
            raise CorpusError(f"line {number} of the corpus is not a label, a tab and a text: {line[:60]!r}")
        examples.append((label.strip(), text))
    return examples


def train(examples: Iterable[tuple[str, str]]) -> Classifier:
    """Learn from labelled texts, whose order does not matter."""
    counts: dict[str, dict[str, int]] = {}
    for label, text in examples:
        seen = counts.setdefault(label, {})
        for word in words(text):
            seen[word] = seen.get(word, 0) + 1
    labels = sorted(counts)
    if len(labels) < 2:
        raise CorpusError(f"the corpus has {len(labels)} labels; it must have at least 2")
    vocabulary = sorted({word for seen in counts.values() for word in seen})
    totals = [sum(counts[label].values()) + SMOOTHING * len(vocabulary) for label in labels]
    evidence = {}
    for word in vocabulary:
        logs = [math.log((counts[label].get(word, 0) + SMOOTHING) / total) for label, total in zip(labels, totals)]
        mean = sum(logs) / len(logs)
        evidence[word] = [value - mean for value in logs]
    return Classifier(labels, evidence)
