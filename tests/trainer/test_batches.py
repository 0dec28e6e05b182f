"""Batches come in the sampler's order, tell where they stand, and hand on what went wrong."""

import numpy as np
import pytest

from trainer.batches import Batches, Groups, group_size
from trainer.sampler import ShuffledSampler

CLASSES = np.arange(50, dtype=np.int32) // 10


def _sampler() -> ShuffledSampler:
    return ShuffledSampler(np.arange(50), 8, seed=1)


def test_batches_come_in_the_order_of_the_sampler() -> None:
    expected, sampler = [], _sampler()
    for _ in range(20):
        expected.append(sampler.draw())
    with Batches(_sampler(), CLASSES, lambda rows: rows, lambda rows: rows * 2) as batches:
        for rows in expected:
            batch = next(batches)
            np.testing.assert_array_equal(batch.features, rows * 2)
            np.testing.assert_array_equal(batch.classes, CLASSES[rows])


def test_batches_go_on_from_the_position_of_one() -> None:
    drawn: list[int] = []
    with Batches(
        _sampler(), CLASSES, lambda rows: rows, lambda rows: rows, lambda: {"drawn": len(drawn)}
    ) as undisturbed:
        batches = [next(undisturbed) for _ in range(9)]
    resumed = _sampler()
    resumed.go_to(batches[4].position["sampler"])
    assert [resumed.draw().tolist() for _ in range(4)] == [batch.features.tolist() for batch in batches[5:]]
    assert batches[4].position["views"] == {"drawn": 0}


@pytest.mark.parametrize("taken", [1, 3, 4, 5, 9])
def test_batches_read_in_groups_are_the_same_and_go_on_within_a_group(taken: int) -> None:
    made: list[int] = []

    def make(rows: np.ndarray) -> np.ndarray:
        made.append(len(rows))
        return rows * 2

    with Batches(_sampler(), CLASSES, lambda rows: rows, lambda rows: rows * 2) as single:
        expected = [next(single) for _ in range(20)]
    with Batches(_sampler(), CLASSES, lambda rows: rows, make, groups=Groups(4)) as batches:
        found = [next(batches) for _ in range(20)]
    assert set(made) == {32}
    position = found[taken - 1].position
    again = _sampler()
    again.go_to(position["sampler"])
    with Batches(again, CLASSES, lambda rows: rows, make, groups=Groups(4, position["taken"])) as batches:
        found[taken:] = [next(batches) for _ in range(20 - taken)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.classes, other.classes)


def test_groups_hold_a_mebibyte_and_at_least_one_batch() -> None:
    assert [group_size(size) for size in (0.0, 1.0, 2.0**17, 2.0**20, 2.0**25)] == [16, 16, 8, 1, 1]


@pytest.mark.parametrize("where", ["read", "make"])
def test_batches_raise_what_was_raised_in_a_thread(where: str) -> None:
    def broken(rows: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    def whole(rows: np.ndarray) -> np.ndarray:
        return rows

    read, make = (broken, whole) if where == "read" else (whole, broken)
    with Batches(_sampler(), CLASSES, read, make) as batches, pytest.raises(OSError, match="disk is gone"):
        next(batches)
