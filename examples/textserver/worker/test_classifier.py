"""Tests of the classifier: python3 -m unittest test_classifier, in this directory."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import unittest

from classifier import Classifier, CorpusError, read, train, words

HERE = os.path.dirname(os.path.abspath(__file__))


def load(*path: str) -> list[tuple[str, str]]:
    with open(os.path.join(HERE, *path), encoding="utf-8") as lines:
        return read(lines)


CORPUS = load("corpus.tsv")
HELD_OUT = load("..", "testdata", "heldout.tsv")


def accuracy(model: Classifier, examples: list[tuple[str, str]]) -> float:
    right = sum(model.rank(model.weigh(text))[0]["label"] == label for label, text in examples)
    return right / len(examples)


class Learning(unittest.TestCase):
    # Six topics of equal size: guessing gets a sixth, and a model that knows only four
    # topics of the six at most two thirds. So 80 % takes knowledge of all of them.
    BAR = 0.8

    def test_sentences_that_it_has_not_seen(self) -> None:
        self.assertFalse({text for _, text in CORPUS} & {text for _, text in HELD_OUT})
        self.assertGreaterEqual(accuracy(train(CORPUS), HELD_OUT), self.BAR)

    def test_the_bar_stops_what_learnt_nothing(self) -> None:
        labels = [label for label, _ in CORPUS]
        random.Random(1).shuffle(labels)
        model = train(zip(labels, (text for _, text in CORPUS)))
        self.assertLess(accuracy(model, HELD_OUT), self.BAR)

    def test_the_bar_stops_what_knows_half_of_the_topics(self) -> None:
        half = sorted({label for label, _ in CORPUS})[:3]
        model = train([example for example in CORPUS if example[0] in half])
        self.assertLess(accuracy(model, HELD_OUT), self.BAR)

    def test_more_turns_make_surer(self) -> None:
        model = train(CORPUS)
        early, late = [], []
        by_label: dict[str, list[str]] = {}
        for label, text in HELD_OUT:
            by_label.setdefault(label, []).append(text)
        for label, texts in by_label.items():
            for start in range(0, len(texts) - 2, 3):
                total = [0.0] * len(model.labels)
                for turn, text in enumerate(texts[start : start + 3]):
                    total = [old + new for old, new in zip(total, model.weigh(text))]
                    sure = {entry["label"]: entry["probability"] for entry in model.rank(total)}[label]
                    if turn != 1:
                        (late if turn else early).append(sure)
        self.assertEqual(len(early), 18)
        self.assertGreater(sum(late), sum(early))
        self.assertGreater(min(late), min(early))


class Determinism(unittest.TestCase):
    def test_order_of_the_corpus_does_not_matter(self) -> None:
        shuffled = CORPUS[:]
        random.Random(2).shuffle(shuffled)
        one, other = train(CORPUS), train(shuffled)
        for _, text in HELD_OUT:
            self.assertEqual(one.weigh(text), other.weigh(text))

    def test_hash_seed_does_not_matter(self) -> None:
        program = "import test_classifier as t; m = t.train(t.CORPUS); print([m.weigh(x) for _, x in t.HELD_OUT])"
        outputs = {
            subprocess.run(
                [sys.executable, "-B", "-c", program],
                cwd=HERE,
                env={"PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
            ).stdout
            for seed in ("1", "2")
        }
        self.assertEqual(len(outputs), 1)
        self.assertGreater(len(outputs.pop()), 1000)


class Arithmetic(unittest.TestCase):
    def test_by_hand(self) -> None:
        # 4 words; a word seen once in a topic of 2 words: (1 + .5) / (2 + .5 * 4) = 3/8,
        # one not seen there: 1/8. Centred, that is half of log 3, up or down.
        model = train([("a", "red green"), ("b", "blue white")])
        half = math.log(3) / 2
        for got, want in zip(model.weigh("red"), (half, -half)):
            self.assertAlmostEqual(got, want)
        ranked = model.rank(model.weigh("red"))
        self.assertEqual([entry["label"] for entry in ranked], ["a", "b"])
        self.assertAlmostEqual(ranked[0]["probability"], 0.75)

    def test_telling_words(self) -> None:
        # 6 words, 3 a topic: (1 + .5) / (3 + .5 * 5) against .5 / 5.5 for red, and 2.5 / 5.5
        # against .5 / 5.5 for blue, which comes twice.
        model = train([("a", "red green white"), ("b", "blue blue black")])
        found = model.telling("Blue red xyzzy RED red")
        self.assertEqual([(word, label) for word, label, _ in found], [("red", "a"), ("blue", "b")])
        self.assertAlmostEqual(found[0][2], 3 * math.log(3) / 2)
        self.assertAlmostEqual(found[1][2], math.log(5) / 2)
        self.assertEqual(model.telling("xyzzy"), [])

    def test_unknown_words_say_nothing(self) -> None:
        model = train([("a", "red"), ("b", "blue")])
        self.assertEqual(model.weigh("xyzzy 42 ?!"), [0.0, 0.0])
        self.assertEqual(model.weigh(""), [0.0, 0.0])

    def test_evidence_adds_up(self) -> None:
        model = train(CORPUS)
        (_, one), (_, other) = HELD_OUT[0], HELD_OUT[1]
        both = [x + y for x, y in zip(model.weigh(one), model.weigh(other))]
        for got, want in zip(model.weigh(one + " " + other), both):
            self.assertAlmostEqual(got, want)

    def test_long_conversations_do_not_overflow(self) -> None:
        model = train([("a", "red"), ("b", "blue")])
        ranked = model.rank([weight * 1e6 for weight in model.weigh("red")])
        self.assertEqual([entry["probability"] for entry in ranked], [1.0, 0.0])


class Reading(unittest.TestCase):
    def test_words(self) -> None:
        self.assertEqual(words("The GLASS shoes, don't_fit; Größe 4!"), ["the", "glass", "shoe", "don", "t", "fit", "grösse", "4"])

    def test_lines(self) -> None:
        self.assertEqual(read(["# note", "", "a\tred  \n", " b \tblue"]), [("a", "red"), ("b", "blue")])

    def test_bad_lines_are_named(self) -> None:
        for line in ("no tab", "\tno label", "no words\t?!"):
            with self.subTest(line), self.assertRaisesRegex(CorpusError, "line 2 "):
                read(["a\tred", line])

    def test_one_label_is_not_enough(self) -> None:
        for examples in ([], [("a", "red"), ("a", "blue")]):
            with self.subTest(examples), self.assertRaisesRegex(CorpusError, "at least 2"):
                train(examples)


if __name__ == "__main__":
    unittest.main()
