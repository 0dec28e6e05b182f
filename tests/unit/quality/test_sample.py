"""Items are drawn by hash: by nothing else."""

import numpy as np
import pytest

from sim_transforms.quality.sample import Drawn, draw, rank, without_rejects

IDS = [f"item-{i:03d}" for i in range(100)]
VECTORS = np.arange(300, dtype=np.float32).reshape(100, 3) + 1


def test_draw_takes_the_lowest_ranks_with_their_vectors() -> None:
    drawn = draw([(IDS, VECTORS)], 7, seed=3)
    wanted = sorted(IDS, key=lambda i: (rank(i, 3), i))[:7]
    assert list(drawn.item_ids) == wanted
    np.testing.assert_array_equal(drawn.vectors, VECTORS[[IDS.index(i) for i in wanted]])


@pytest.mark.parametrize("size", [1, 7, 33])
def test_draw_from_other_batches_in_another_order_is_the_same(size: int) -> None:
    order = np.random.default_rng(size).permutation(100)
    batches = [([IDS[i] for i in part], VECTORS[part]) for part in np.array_split(order, 100 // size)]
    drawn, plain = draw(batches, 11, seed=0), draw([(IDS, VECTORS)], 11, seed=0)
    assert drawn.item_ids == plain.item_ids
    np.testing.assert_array_equal(drawn.vectors, plain.vectors)


def test_draw_of_more_than_there_are_takes_all() -> None:
    assert sorted(draw([(IDS, VECTORS)], 1000, seed=0).item_ids) == IDS


def test_draw_with_another_seed_takes_others() -> None:
    assert set(draw([(IDS, VECTORS)], 10, 0).item_ids) != set(draw([(IDS, VECTORS)], 10, 1).item_ids)


def test_without_rejects_leaves_out_what_the_index_would_reject() -> None:
    vectors = np.array([[1, 0], [0, 0], [np.nan, 1]], np.float32)
    drawn = Drawn(("a", "zero", "nan"), vectors)
    assert without_rejects(drawn, "cosine").item_ids == ("a",)
    assert without_rejects(drawn, "l2").item_ids == ("a", "zero")
