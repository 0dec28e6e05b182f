"""Searching a native file."""

from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw.file_format import header_bytes
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.upper import no_upper_layers
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, wide_distances

ITEMS, DIMENSION = 200, 7


@pytest.mark.parametrize("space", SPACES)
def test_search_distances_are_those_of_the_commands(space: str, tmp_path: Path) -> None:
    vectors, queries = clustered(ITEMS, DIMENSION), clustered(10, DIMENSION, seed=1) * np.float32(3)
    order = build_whole(vectors, IndexSettings(space=space, shard_items=50), tmp_path / "i")
    rows, distances = NativeSearcher(tmp_path / "i", space, ITEMS, DIMENSION).search(queries, 5, 100)
    prepare = space_of(space).prepare
    native = wide_distances(space, prepare(queries), prepare(vectors))
    expected = {"cosine": native / 2, "l2": np.sqrt(np.abs(native)), "inner_product": native}[space]
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order[rows], axis=1), atol=1e-4)
    assert (np.diff(distances, axis=1) >= 0).all()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "index.hnsw"
    build_whole(clustered(3, DIMENSION), IndexSettings(), path)
    return path


def test_search_more_than_there_are_is_padded(small: Path) -> None:
    rows, distances = NativeSearcher(small, "cosine", 3, DIMENSION).search(clustered(2, DIMENSION), 5, 10)
    assert sorted(rows[0, :3]) == [0, 1, 2]
    assert (rows[:, 3:] == -1).all()
    assert np.isinf(distances[:, 3:]).all()


def test_search_no_queries_gives_no_answers(small: Path) -> None:
    rows, _ = NativeSearcher(small, "cosine", 3, DIMENSION).search(clustered(0, DIMENSION), 5, 10)
    assert rows.shape == (0, 5)


def test_search_in_no_items_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(header_bytes(0, DIMENSION, IndexSettings(), no_upper_layers()))
    rows, distances = NativeSearcher(tmp_path / "i", "cosine", 0, DIMENSION).search(clustered(2, DIMENSION), 3, 10)
    assert (rows == -1).all()
    assert np.isinf(distances).all()


@pytest.mark.parametrize(("items", "dimension"), [(4, DIMENSION), (3, DIMENSION + 1), (0, DIMENSION)])
def test_searcher_other_size_than_expected_is_refused(small: Path, items: int, dimension: int) -> None:
    with pytest.raises(DamagedArtefact, match=f"3 items of dimension 7; expected {items} of {dimension}"):
        NativeSearcher(small, "cosine", items, dimension)


def test_searcher_damaged_header_never_reaches_nmslib(small: Path, tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(small.read_bytes()[:100])
    with pytest.raises(DamagedArtefact):
        NativeSearcher(tmp_path / "i", "cosine", 3, DIMENSION)


@pytest.mark.parametrize(("dimension", "k", "ef"), [(DIMENSION + 1, 1, 1), (DIMENSION, 0, 1), (DIMENSION, 1, 0)])
def test_search_wrong_request_is_refused(small: Path, dimension: int, k: int, ef: int) -> None:
    with pytest.raises(UsageError, match="expected"):
        NativeSearcher(small, "cosine", 3, DIMENSION).search(clustered(1, dimension), k, ef)


@pytest.mark.parametrize("space", SPACES)
def test_search_one_by_one_answers_as_together(space: str, tmp_path: Path) -> None:
    vectors, queries = clustered(ITEMS, DIMENSION), clustered(20, DIMENSION, seed=1) * np.float32(3)
    queries[:4] *= np.array([[1e-9], [1e9], [1e-18], [1e15]], np.float32)
    build_whole(vectors, IndexSettings(space=space, shard_items=50), tmp_path / "i")
    searcher = NativeSearcher(tmp_path / "i", space, ITEMS, DIMENSION)
    rows, distances = searcher.search(queries, 5, 100)
    for place, query in enumerate(queries):
        for one in (query[None], np.stack([query] * 2, axis=1).T[::2], query[None].astype(np.float64)):
            alone = searcher.search_one(one[0], 5, 100)
            # Those of float32's far ends go the long way.
            assert (alone is None) == (place in (2, 3))
            found, far = (rows[place], distances[place]) if alone is None else alone
            np.testing.assert_allclose(far, distances[place], rtol=1e-5, atol=1e-6)
            assert set(found) == set(rows[place])


def test_search_at_another_width_is_another_search(tmp_path: Path) -> None:
    vectors, queries = clustered(3000, 16), clustered(100, 16, seed=1)
    build_whole(vectors, IndexSettings(shard_items=3000, m=4), tmp_path / "i")
    searcher = NativeSearcher(tmp_path / "i", "cosine", 3000, 16)

    def found(width: int) -> np.ndarray:
        alone = [searcher.search_one(query, 1, width) for query in queries]
        return np.stack([rows for rows, _ in filter(None, alone)])

    narrow, wide = found(1), found(500)
    assert (narrow != wide).any()
    np.testing.assert_array_equal(found(1), narrow)
    np.testing.assert_array_equal(searcher.search(queries, 1, 500)[0], wide)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_search_a_single_query_that_is_not_finite_is_refused(small: Path, bad: float) -> None:
    query = clustered(1, DIMENSION)
    query[0, 2] = bad
    searcher = NativeSearcher(small, "l2", 3, DIMENSION)
    assert searcher.search_one(query[0], 1, 10) is None
    with pytest.raises(UsageError, match="not finite"):
        searcher.search(query, 1, 10)


@pytest.mark.parametrize("space", SPACES)
def test_items_of_the_same_distance_are_found_by_row(space: str, tmp_path: Path) -> None:
    vectors = np.repeat(clustered(30, DIMENSION), 2, axis=0)
    build_whole(vectors, IndexSettings(space=space, shard_items=60), tmp_path / "i")
    searcher = NativeSearcher(tmp_path / "i", space, 60, DIMENSION)
    rows, distances = searcher.search(vectors[::6], 20, 100)
    for place, query in enumerate(vectors[::6]):
        alone = searcher.search_one(query, 20, 100)
        assert alone is not None
        for found, far in ((rows[place], distances[place].tolist()), (alone[0], alone[1])):
            assert list(zip(far, found.tolist(), strict=True)) == sorted(zip(far, found.tolist(), strict=True))
            assert len(set(far)) <= 11
