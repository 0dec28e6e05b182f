"""Counts of the answers of each class against a plain count."""

import numpy as np

from sim_transforms.quality.confusion import ConfusedPair, confusion


def test_confusion_counts_each_answer_once() -> None:
    rng = np.random.default_rng(0)
    asked, answered = (rng.choice(list("abcde"), 300).tolist() for _ in range(2))
    found = confusion(asked, answered, most=10)
    assert found.labels == tuple("abcde")
    for label, row in zip(found.labels, found.counts, strict=True):
        assert row[:-1] == tuple(
            sum((a, b) == (label, other) for a, b in zip(asked, answered, strict=True)) for other in found.labels
        )
        assert (row[-1], sum(row)) == (0, asked.count(label))
    assert sum(pair.count for pair in found.pairs) == sum(a != b for a, b in zip(asked, answered, strict=True))


def test_confusion_of_many_classes_keeps_those_with_most_mistakes() -> None:
    asked = ["a"] * 5 + ["b"] * 3 + ["c"] * 4 + ["d"] * 9
    answered = ["a", "b", "b", "b", "x"] + ["b", "b", "c"] + ["c"] * 4 + ["d"] * 9
    found = confusion(asked, answered, most=2)
    assert (found.labels, found.classes) == (("a", "b"), 4)
    assert found.counts == ((1, 3, 1), (0, 2, 1))
    assert found.pairs == (ConfusedPair("a", "b", 3, 5), ConfusedPair("a", "x", 1, 5), ConfusedPair("b", "c", 1, 3))


def test_confusion_of_answers_without_a_class_puts_them_into_the_last_column() -> None:
    found = confusion(["a", "a"], ["a", ""], most=5)
    assert (found.labels, found.counts) == (("a",), ((1, 1),))
    assert found.pairs == (ConfusedPair("a", "", 1, 2),)


def test_confusion_of_nothing_is_empty() -> None:
    found = confusion([], [], most=5)
    assert (found.labels, found.counts, found.classes, found.pairs) == ((), (), 0, ())
