"""Groups and communities of a neighbour graph, beside what loops over all pairs say."""

from typing import Any

import numpy as np
import pytest

from sim_transforms.quality import graph as graphs
from sim_transforms.quality.graph import (
    NeighborGraph,
    communities,
    near_duplicates,
    repeated_rows,
    row_hashes,
    shared_neighbors,
)

Array = np.ndarray[Any, Any]

NONE = np.zeros((0, 2), np.int64)


def _graph(vectors: Array, k: int) -> NeighborGraph:
    lengths = np.linalg.norm(vectors[:, None] - vectors[None], axis=2).astype(np.float32)
    np.fill_diagonal(lengths, np.inf)
    neighbors = np.argsort(lengths, axis=1, kind="stable")[:, :k].astype(np.int32)
    return NeighborGraph(neighbors, np.take_along_axis(lengths, neighbors, 1), repeated_rows([vectors]))


def _blobs(count: int, each: int, spread: float, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    centres = 10 * generator.standard_normal((count, 8))
    return np.repeat(centres, each, axis=0) + spread * generator.standard_normal((count * each, 8))


def _linked(vectors: Array, bound: float) -> list[list[int]]:
    """Groups of at least two by flooding, over all pairs."""
    left, groups = set(range(len(vectors))), []
    while left:
        group, waiting = set(), [min(left)]
        while waiting:
            row = waiting.pop()
            if row not in group:
                group.add(row)
                waiting += np.flatnonzero(np.linalg.norm(vectors - vectors[row], axis=1) <= bound).tolist()
        left -= group
        groups.append(sorted(group))
    return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), group[0]))


@pytest.mark.parametrize("bound", [0.0, 1.5, 4.0, 1000.0])
def test_duplicates_are_all_that_are_linked(bound: float) -> None:
    vectors = _blobs(12, 5, 1.0).astype(np.float32)
    vectors[7], vectors[50] = vectors[3], vectors[3]
    found = near_duplicates(_graph(vectors, 59), bound)
    assert [found.groups.of(n).tolist() for n in range(len(found.groups))] == _linked(vectors, bound)
    for group in (found.groups.of(n) for n in range(len(found.groups))):
        assert found.kept[group].sum() == 1
        inner = np.linalg.norm(vectors[group][:, None] - vectors[group][None], axis=2) + 1e9 * np.eye(len(group))
        np.testing.assert_allclose(found.nearest[group], inner.min(axis=1), rtol=1e-5)
    alone = np.setdiff1d(np.arange(60), found.groups.rows)
    assert found.kept[alone].all()
    assert np.isnan(found.nearest[alone]).all()
    assert found.full == 0


def test_items_of_one_owner_are_linked_through_others_alone() -> None:
    vectors = np.array([[0], [0.5], [1], [10], [10.5], [20], [20.2]], np.float32)
    owners = np.array([0, 0, 1, 2, 2, 3, 4])
    found = near_duplicates(_graph(vectors, 3), 1.1, owners)
    assert [found.groups.of(n).tolist() for n in range(len(found.groups))] == [[0, 1, 2], [5, 6]]


def test_the_item_with_most_links_is_kept() -> None:
    vectors = np.array([[0], [1], [2], [1.2], [50]], np.float32)
    found = near_duplicates(_graph(vectors, 3), 1.1)
    assert found.groups.of(0).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(found.kept).tolist() == [1, 4]


def test_very_same_vectors_are_one_group_though_their_lists_are_full() -> None:
    """Of thirty copies each lists four, which need not hang together; and it is told that lists were too short."""
    neighbors = np.array([[5 * (n // 5) + (n + step) % 5 for step in range(1, 5)] for n in range(30)], np.int32)
    graph = NeighborGraph(neighbors, np.zeros((30, 4), np.float32), repeated_rows([np.ones((30, 3), np.float32)]))
    found = near_duplicates(graph, 0.0)
    assert [found.groups.of(n).tolist() for n in range(len(found.groups))] == [list(range(30))]
    assert found.full == 30


def test_repeated_rows_are_found_across_blocks() -> None:
    vectors = np.random.default_rng(0).standard_normal((1000, 16)).astype(np.float32)
    vectors[[500, 999]] = vectors[3]
    vectors[700], vectors[701] = 0.0, -0.0
    assert repeated_rows(np.split(vectors, 10)).tolist() == [[500, 3], [701, 700], [999, 3]]
    assert repeated_rows([]).shape == (0, 2)


def test_hashes_differ_where_any_number_differs_by_a_bit() -> None:
    vectors = np.ones((2000, 40), np.float32)
    rows = np.arange(2000)
    vectors[rows, rows % 40] = np.nextafter(np.float32(1), np.float32(2)) + (rows // 40) * np.float32(2**-23)
    assert len(np.unique(row_hashes(vectors))) == 2000


@pytest.mark.parametrize("block", [7, 50_000])
def test_weights_are_jaccard_indices(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_BLOCK", block)
    graph = _graph(_blobs(4, 8, 3.0), 5)
    graph.neighbors[0, 3:] = -1
    lists = [{row, *(n for n in graph.neighbors[row].tolist() if n >= 0)} for row in range(32)]
    expected = np.zeros((32, 32))
    for a in range(32):
        for b in range(32):
            if a != b and (b in lists[a] or a in lists[b]):
                expected[a, b] = len(lists[a] & lists[b]) / len(lists[a] | lists[b])
    np.testing.assert_allclose(shared_neighbors(graph).toarray(), expected, atol=1e-6)


def test_communities_are_the_blobs_largest_first_whatever_the_order() -> None:
    sizes = [30, 50, 20, 40]
    vectors = np.concatenate([_blobs(1, size, 1.0, seed) for seed, size in enumerate(sizes)])
    truth = np.repeat(np.argsort(np.argsort([-size for size in sizes])), sizes)
    found = communities(_graph(vectors, 10), 1.0, seed=0)
    assert found.sizes.tolist() == sorted(sizes, reverse=True)
    assert found.numbers.tolist() == truth.tolist()
    order = np.random.default_rng(5).permutation(len(vectors))
    again = communities(_graph(vectors[order], 10), 1.0, seed=3)
    assert again.numbers.tolist() == truth[order].tolist()


def test_modularity_is_that_of_its_definition_and_resolution_moves_the_number() -> None:
    graph = _graph(_blobs(6, 25, 6.0), 8)
    weights = shared_neighbors(graph).toarray()
    counts = []
    for resolution in (0.3, 1.0, 3.0):
        found = communities(graph, resolution, seed=0)
        strength, same = weights.sum(axis=1), found.numbers[:, None] == found.numbers[None]
        expected = weights - resolution * np.outer(strength, strength) / weights.sum()
        assert found.modularity == pytest.approx(expected[same].sum() / weights.sum(), abs=1e-6)
        counts.append(len(found.sizes))
    assert counts[0] < counts[1] < counts[2]


def test_same_seed_gives_the_same_communities() -> None:
    graph = _graph(np.random.default_rng(2).standard_normal((400, 8)), 10)
    first, second = (communities(graph, 1.0, seed=4) for _ in range(2))
    assert first.numbers.tolist() == second.numbers.tolist()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_items_without_neighbors_stand_alone(count: int) -> None:
    graph = NeighborGraph(np.full((count, 2), -1, np.int32), np.full((count, 2), np.inf, np.float32), NONE)
    assert communities(graph, 1.0, 0).sizes.tolist() == [1] * count
    found = near_duplicates(graph, 10.0)
    assert (len(found.groups), found.kept.tolist()) == (0, [True] * count)
