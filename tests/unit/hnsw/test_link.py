"""Links across shards, against loops."""

import numpy as np
import pytest

from sim_transforms.hnsw.build import ShardGraph
from sim_transforms.hnsw.kernels import cut_candidates
from sim_transforms.hnsw.link import Forward, foreign_links, link_shard
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, nearest_rows, recall, shard_of_all, wide_distances

FIRST = 1000


def _diverse(owner: int, candidates: list[int], distances: dict[int, float], pairs: np.ndarray, limit: int) -> list:
    """The rule as the paper words it."""
    kept: list[int] = []
    for row in sorted(candidates, key=lambda r: (distances[r], candidates.index(r))):
        nearer_to_kept = any(pairs[row, other] < distances[row] for other in kept)
        if row != owner and row not in kept and not nearer_to_kept and len(kept) < limit:
            kept.append(row)
    return kept


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("limit", [3, 40])
def test_cut_equals_the_rule_written_as_a_loop(space: str, limit: int) -> None:
    vectors = space_of(space).prepare(clustered(60, 9))
    pairs = wide_distances(space, vectors, vectors)
    candidates = np.random.default_rng(0).permutation(60)[:40].astype(np.int32)
    owner = int(candidates[7])
    others = candidates[candidates != owner]
    rows, gaps = cut_candidates(vectors[owner][None], others[None], vectors, limit, space == "inner_product")
    kept = rows[0][rows[0] >= 0].tolist()
    assert kept == _diverse(owner, others.tolist(), dict(enumerate(pairs[owner])), pairs, limit)
    np.testing.assert_allclose(gaps[0][: len(kept)], pairs[owner, kept], rtol=1e-4, atol=1e-4)


def _linked(space: str, items: int = 300, queries: int = 80, m: int = 4) -> tuple:
    settings = IndexSettings(space=space, m=m)
    graph = shard_of_all(space_of(space).prepare(clustered(items, 8)), settings)
    vectors = space_of(space).prepare(clustered(queries, 8, seed=1))
    rows = (np.arange(queries) * 3 + 5000).astype(np.int32)
    return graph, rows, vectors, settings


@pytest.mark.parametrize("space", SPACES)
def test_link_shard_forward_equals_exact_search_and_the_rule(space: str) -> None:
    graph, rows, vectors, settings = _linked(space)
    _, forward = link_shard(graph, FIRST, rows, vectors, settings)
    near = wide_distances(space, vectors, graph.vectors)
    pairs = wide_distances(space, graph.vectors, graph.vectors)
    for query, found in enumerate(forward.candidates):
        nearest = np.argsort(near[query])[:16].tolist()
        expected = _diverse(-1, nearest, dict(enumerate(near[query])), pairs, foreign_links(settings))
        assert (found[found >= 0] - FIRST).tolist() == expected


@pytest.mark.parametrize("space", SPACES)
def test_link_shard_every_link_has_its_distance(space: str) -> None:
    graph, rows, vectors, settings = _linked(space)
    linked, _ = link_shard(graph, FIRST, rows, vectors, settings)
    both = np.concatenate([graph.vectors, vectors])
    numbers = np.concatenate([np.arange(300) + FIRST, rows])
    place = {int(number): position for position, number in enumerate(numbers)}
    for row, (links, distances) in enumerate(zip(linked.links, linked.distances, strict=True)):
        kept = [place[int(link)] for link in links if link >= 0]
        expected = wide_distances(space, graph.vectors[row : row + 1], both[kept])[0]
        np.testing.assert_allclose(distances[: len(kept)], expected, atol=1e-3)
        assert np.isinf(distances[len(kept) :]).all()


def test_link_shard_incoming_links_come_from_queries_that_chose_the_item() -> None:
    graph, rows, vectors, settings = _linked("l2")
    linked, forward = link_shard(graph, FIRST, rows, vectors, settings)
    chosen = {(int(q), int(c)) for q, found in zip(forward.rows, forward.candidates, strict=True) for c in found}
    incoming = [(int(link), row + FIRST) for row, links in enumerate(linked.links) for link in links if link >= 5000]
    assert len(incoming) > 80
    assert set(incoming) <= chosen


def test_link_shard_room_left_keeps_every_own_link() -> None:
    graph, rows, vectors, settings = _linked("l2", m=50)
    linked, _ = link_shard(graph, FIRST, rows[:20], vectors[:20], settings)
    for before, after in zip(graph.links, linked.links, strict=True):
        assert set(before[before >= 0] + FIRST) <= set(after)


def test_link_shard_order_of_queries_does_not_matter() -> None:
    graph, rows, vectors, settings = _linked("cosine")
    mixed = np.random.default_rng(0).permutation(len(rows))
    given = link_shard(graph, FIRST, rows, vectors, settings)
    shuffled = link_shard(graph, FIRST, rows[mixed], vectors[mixed], settings)
    assert _bytes(*given) == _bytes(*shuffled)


def _bytes(linked: object, forward: Forward) -> list[bytes]:
    arrays = [linked.links, linked.distances, forward.rows, forward.candidates, forward.distances]
    return [array.tobytes() for array in arrays]


def test_link_shard_without_queries_keeps_its_own_links() -> None:
    graph, rows, vectors, settings = _linked("l2")
    linked, forward = link_shard(graph, FIRST, rows[:0], vectors[:0], settings)
    np.testing.assert_array_equal(linked.links, np.where(graph.links >= 0, graph.links + FIRST, -1))
    assert len(forward.rows) == 0


def test_link_shard_of_no_items_answers_with_nothing() -> None:
    settings = IndexSettings(space="l2", m=4)
    empty = shard_of_all(np.zeros((0, 8), np.float32), settings)
    linked, forward = link_shard(empty, FIRST, np.int32([1, 2]), clustered(2, 8), settings)
    assert linked.links.shape == (0, 8)
    assert (forward.candidates == -1).all()


def test_link_shard_large_shard_is_searched_in_its_nearest_cells_nearly_exactly() -> None:
    graph, rows, vectors, settings = _linked("l2", items=8000, m=16)
    assert len(graph.cells.centroids) > 8
    _, forward = link_shard(graph, FIRST, rows, vectors, settings)
    # The nearest candidate always survives the rule.
    assert recall(forward.candidates[:, :1] - FIRST, nearest_rows("l2", vectors, graph.vectors, 1)) >= 0.97


def test_shard_graph_is_not_changed_by_linking() -> None:
    graph, rows, vectors, settings = _linked("l2")
    before = ShardGraph(graph.vectors.copy(), graph.cells, graph.levels, graph.links.copy(), graph.far.copy())
    link_shard(graph, FIRST, rows, vectors, settings)
    np.testing.assert_array_equal(graph.links, before.links)
    np.testing.assert_array_equal(graph.vectors, before.vectors)
