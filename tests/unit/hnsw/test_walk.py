"""The walk that leaves a row out, against NMSLIB and against a plain beam search."""

import heapq
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.hnsw.file_format import NativeIndex, read_index
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.walk import graph_of, open_graph, walk
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, nearest_rows, wide_distances

ITEMS, DIMENSION = 1500, 24


def _built(folder: Path, space: str, vectors: np.ndarray | None = None) -> tuple[Path, np.ndarray]:
    """The file, and the prepared vectors in the order of its rows."""
    vectors = clustered(ITEMS, DIMENSION) if vectors is None else vectors
    order = build_whole(vectors, IndexSettings(space=space, shard_items=400), folder / "i")
    return folder / "i", space_of(space).prepare(vectors)[order]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("ef", [10, 33, 200])
def test_walk_that_leaves_nothing_out_answers_as_nmslib_does(space: str, ef: int, tmp_path: Path) -> None:
    path, _ = _built(tmp_path, space)
    queries = space_of(space).prepare(clustered(200, DIMENSION, seed=1))
    rows, distances = walk(open_graph(path), queries, np.full(200, -1), 10, ef)
    native, near = NativeSearcher(path, space, ITEMS, DIMENSION).search_native(queries, 10, ef)
    np.testing.assert_array_equal(rows, native)
    np.testing.assert_allclose(distances, near, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", SPACES)
def test_walk_is_a_beam_search_in_the_graph_from_which_the_row_was_deleted(space: str, tmp_path: Path) -> None:
    path, vectors = _built(tmp_path, space)
    index = read_index(path)
    own = np.concatenate([np.arange(0, ITEMS, 50), np.flatnonzero(index.levels >= 1)[:20], [index.header.entry_row]])
    rows, _ = walk(graph_of(index), vectors[own], own, 10, 40)
    wide = wide_distances(space, vectors[own], vectors)
    for place, row in enumerate(own.tolist()):
        assert rows[place].tolist() == _plain(index, wide[place], row, 40)[:10]


def _plain(index: NativeIndex, gaps: np.ndarray, own: int, ef: int) -> list[int]:
    """Algorithms 2 and 5 of Malkov & Yashunin, links to `own` replaced; it may only be started from."""
    gaps = gaps.copy()
    gaps[own] = np.inf
    vectors = index.records["vector"].astype(np.float64)

    def without(row: int, links: list[int], lost: list[int]) -> list[int]:
        if own not in links or row == own:
            return links
        space = "inner_product" if index.header.is_inner_product else "l2"
        kept = [link for link in links if link != own]
        spare = [other for other in lost if other not in (*links, row)]
        near = wide_distances(space, vectors[[row]], vectors[spare])[0] if spare else np.zeros(0)
        covered = [
            (wide_distances(space, vectors[[other]], vectors[kept])[0] < gap).any()
            for other, gap in zip(spare, near, strict=True)
        ]
        free = [(gap, other) for other, gap, hidden in zip(spare, near, covered, strict=True) if not hidden]
        return kept + ([min(free)[1]] if free else [])

    def upper(row: int, level: int) -> list[int]:
        start = index.starts[row] + (level - 1) * (index.header.max_m + 1)
        return index.upper[start + 1 : start + 1 + index.upper[start]].tolist()

    def below(row: int) -> list[int]:
        record = index.records[row]
        return record["links"][: record["count"]].tolist()

    at = index.header.entry_row
    for level in range(index.header.max_level, 0, -1):
        while True:
            lost = upper(own, level) if index.levels[own] >= level else []
            best = min(without(at, upper(at, level), lost), key=lambda row: gaps[row], default=at)
            if not gaps[best] < gaps[at]:
                break
            at = best
    seen, waiting, kept = {at, own}, [(gaps[at], at)], [(-gaps[at], at)]
    while waiting:
        gap, row = heapq.heappop(waiting)
        if len(kept) == ef and gap > -kept[0][0]:
            break
        for other in without(row, below(row), below(own)):
            if other not in seen and (len(kept) < ef or gaps[other] < -kept[0][0]):
                heapq.heappush(waiting, (gaps[other], other))
                heapq.heappush(kept, (-gaps[other], other))
                kept = kept if len(kept) <= ef else heapq.nsmallest(ef, kept, key=lambda entry: -entry[0])
                heapq.heapify(kept)
            seen.add(other)
    return [row for _, row in sorted((-gap, row) for gap, row in kept) if row != own]


@pytest.mark.parametrize("space", SPACES)
def test_walk_leaves_out_the_row_and_finds_the_others(space: str, tmp_path: Path) -> None:
    path, vectors = _built(tmp_path, space)
    own = np.arange(ITEMS)
    rows, distances = walk(open_graph(path), vectors, own, 10, 400)
    exact = np.array([near[near != row][:10] for row, near in enumerate(nearest_rows(space, vectors, vectors, 11))])
    assert not (rows == own[:, None]).any()
    assert (np.sort(rows, axis=1) == np.sort(exact, axis=1)).mean() >= 0.99
    assert (np.diff(distances, axis=1) >= 0).all()


@pytest.mark.parametrize("items", [3, 5, 8, 500])
@pytest.mark.parametrize("dimension", [1, 2])
def test_walk_where_each_row_is_the_way_to_the_next_finds_all(items: int, dimension: int, tmp_path: Path) -> None:
    path, vectors = _built(tmp_path, "l2", np.random.default_rng(0).normal(size=(items, dimension)).astype(np.float32))
    k, own = min(10, items - 1), np.arange(items)
    rows, _ = walk(open_graph(path), vectors, own, k, 50)
    near = nearest_rows("l2", vectors, vectors, items)
    exact = np.array([line[line != row][:k] for row, line in enumerate(near)])
    assert (np.sort(rows, axis=1) == np.sort(exact, axis=1)).mean() >= 0.98


def test_walk_of_two_items_finds_the_other_and_nothing_more(tmp_path: Path) -> None:
    path, vectors = _built(tmp_path, "l2", clustered(2, 4))
    rows, distances = walk(open_graph(path), vectors, np.array([0, 1]), 3, 10)
    assert rows.tolist() == [[1, -1, -1], [0, -1, -1]]
    assert np.isinf(distances[:, 1:]).all()


def test_walk_among_repeated_vectors_finds_the_repetitions(tmp_path: Path) -> None:
    vectors = clustered(300, 8)
    vectors[100:200] = vectors[0]
    path, kept = _built(tmp_path, "l2", vectors)
    own = np.flatnonzero((kept == vectors[0]).all(axis=1))
    _, distances = walk(open_graph(path), kept[own], own, 10, 50)
    assert (distances == 0).mean() >= 0.99


def test_search_without_a_row_is_of_the_space_and_checks_the_file(tmp_path: Path) -> None:
    path, vectors = _built(tmp_path, "cosine")
    searcher = NativeSearcher(path, "cosine", ITEMS, DIMENSION)
    rows, distances = searcher.search(vectors[:5], 3, 50, without=np.arange(5))
    np.testing.assert_allclose(distances, 1 - np.einsum("qd,qkd->qk", vectors[:5], vectors[rows]), atol=1e-5)
