"""Batches come in the sampler's order, tell where they stand, and hand on what went wrong."""

import numpy as np
import pytest

from trainer.batches import Batches
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


@pytest.mark.parametrize("where", ["read", "make"])
def test_batches_raise_what_was_raised_in_a_thread(where: str) -> None:
    def broken(rows: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    def whole(rows: np.ndarray) -> np.ndarray:
        return rows

    read, make = (broken, whole) if where == "read" else (whole, broken)
    with Batches(_sampler(), CLASSES, read, make) as batches, pytest.raises(OSError, match="disk is gone"):
        next(batches)
