"""Routed search: every shard probed is exact search, and answers merge as a heap would merge them."""

import heapq
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sim_transforms.hnsw.routed import RoutedSearcher, keep_nearest
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.settings.stages import IndexSettings, SearchSettings
from tests.unit.hnsw.clouds import wide_distances
from tests.unit.hnsw.plain_shards import plain_shards

# Few different values, so that ties, zeros and identical vectors are common.
VALUES = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])


@st.composite
def _answers(draw: Any, most: int) -> tuple[Any, Any]:
    """[2, c] rows and distances, different rows in a line."""
    columns = draw(st.integers(1, most))
    rows = np.array([draw(st.permutations(range(most)))[:columns] for _ in range(2)], np.int32)
    return rows, draw(arrays.arrays(np.float32, (2, columns), elements=st.integers(0, 3)))


@given(st.integers(1, 6), st.lists(_answers(8), max_size=4))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_keep_nearest_of_any_pieces_is_what_a_heap_keeps(k: int, pieces: list[tuple[Any, Any]]) -> None:
    rows, distances = np.full((2, k), -1, np.int32), np.full((2, k), np.inf, np.float32)
    pieces = [(r + 8 * place, d) for place, (r, d) in enumerate(pieces)]
    for more in pieces:
        rows, distances = keep_nearest(rows, distances, *more)
    for line in range(2):
        everything = [(float(d), int(r)) for p in pieces for r, d in zip(p[0][line], p[1][line], strict=True)]
        kept = heapq.nsmallest(k, everything)
        assert rows[line].tolist() == [r for _, r in kept] + [-1] * (k - len(kept))
        assert distances[line, : len(kept)].tolist() == [d for d, _ in kept]


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 6)).flatmap(lambda s: arrays.arrays(np.float32, s, elements=VALUES)),
    st.sampled_from(sorted(SPACES)),
    st.integers(1, 70),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_search_probing_all_shards_is_exact(vectors: Any, space: str, k: int) -> None:
    # Shards of at most m items, all of them linked: within a shard HNSW leaves nothing out.
    chosen = IndexSettings(space=space, shard_items=16, m=16)
    with TemporaryDirectory() as folder:
        index, order = plain_shards(vectors, chosen, Path(folder))
        searcher = RoutedSearcher(index, SearchSettings(probe=len(index.shards)))
        prepared = space_of(space).prepare(vectors)
        rows, distances = searcher.search_native(prepared[:5], k, 100)
    exact = wide_distances(space, prepared[:5], prepared[order])
    count = min(k, len(vectors))
    assert (rows[:, count:] == -1).all()
    assert all(len(set(line)) == count for line in rows[:, :count].tolist())
    np.testing.assert_allclose(distances[:, :count], np.sort(exact, axis=1)[:, :count], atol=1e-5)
    np.testing.assert_allclose(distances[:, :count], np.take_along_axis(exact, rows[:, :count], axis=1), atol=1e-5)
