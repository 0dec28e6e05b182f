"""Own and cross links become one list; the upper layers of all shards."""

import numpy as np

from sim_transforms.hnsw.build_upper import build_upper
from sim_transforms.hnsw.levels import draw_levels
from sim_transforms.hnsw.link import Forward, LinkedShard
from sim_transforms.hnsw.merge import merge_links
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered

SETTINGS = IndexSettings(space="l2", m=2)
INFINITE = float("inf")


def _levels(items: int) -> np.ndarray:
    return (draw_levels([str(row) for row in range(items)], 4, 0) + 1).astype(np.int8)


def _shard(links: list, distances: list) -> LinkedShard:
    return LinkedShard(10, np.array(links, np.int32), np.array(distances, np.float32))


def _forward(rows: list, candidates: list, distances: list) -> Forward:
    return Forward(
        np.array(rows, np.int32), np.array(candidates, np.int32).reshape(-1, 2), np.array(distances).reshape(-1, 2)
    )


def test_merge_links_keeps_the_nearest_of_both() -> None:
    linked = _shard([[11, 12, 13, 14]], [[1, 3, 5, 7]])
    merged = merge_links(linked, _forward([10], [50, 51], [2, 9]))
    assert merged.tolist() == [[11, 50, 12, 13]]


def test_merge_links_repeated_and_own_rows_are_dropped() -> None:
    linked = _shard([[11, 50, -1, -1]], [[1, 2, INFINITE, INFINITE]])
    merged = merge_links(linked, _forward([10, 10], [50, 10, 51, -1], [2, 0, 3, INFINITE]))
    assert merged.tolist() == [[11, 50, 51, -1]]


def test_merge_links_entries_in_any_order_are_joined_by_row() -> None:
    linked = _shard([[11, -1, -1, -1], [10, -1, -1, -1]], [[1] + [INFINITE] * 3] * 2)
    merged = merge_links(linked, _forward([11, 10, 11], [60, -1, 50, -1, 61, -1], [3, 9, 2, 9, 2, 9]))
    assert merged.tolist() == [[11, 50, -1, -1], [10, 61, 60, -1]]


def test_merge_links_nothing_forward_keeps_own_links_nearest_first() -> None:
    linked = _shard([[11, 12, -1, -1]], [[4, 3, INFINITE, INFINITE]])
    assert merge_links(linked, _forward([], [], [])).tolist() == [[12, 11, -1, -1]]


def test_build_upper_of_no_items_starts_at_row_zero() -> None:
    upper = build_upper(np.zeros(0, np.int32), np.zeros((0, 4), np.float32), np.zeros(0, np.int8), SETTINGS)
    assert (upper.max_level, upper.entry_row, len(upper.links)) == (0, 0, 0)


def test_build_upper_names_global_rows_at_every_level() -> None:
    settings = IndexSettings(space="l2", m=4)
    rows = (np.arange(300) * 7 + 3).astype(np.int32)
    upper = build_upper(rows, clustered(300, 6), _levels(300), settings)
    level_of = dict(zip(rows.tolist(), upper.levels.tolist(), strict=True))
    assert min(level_of.values()) == 1
    assert level_of[upper.entry_row] == upper.max_level == max(level_of.values()) > 1
    for place, row in enumerate(rows.tolist()):
        block = upper.links[upper.starts[place] :][: level_of[row] * 5].reshape(-1, 5)
        for level, words in enumerate(block, start=1):
            linked = words[1 : 1 + words[0]].tolist()
            assert row not in linked
            assert all(level_of[other] >= level for other in linked)


def test_build_upper_again_is_the_same() -> None:
    rows, vectors, settings = np.arange(200, dtype=np.int32), clustered(200, 6), IndexSettings(space="l2")
    first, again = (build_upper(rows, vectors, _levels(200), settings).links.tobytes() for _ in range(2))
    assert first == again
