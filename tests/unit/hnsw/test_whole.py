"""The whole way from vectors to the file: recall, bytes, and the small and odd cases."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.hnsw.file_format import NativeIndex, read_index
from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, nearest_rows, reachable, recall, wide_distances

# Measured at ef_search 20 where neither is near 1; the merged one may miss by this much.
TOLERANCE = 0.01


def _in_one_go(space: str, base: np.ndarray, queries: np.ndarray, ef_search: int) -> np.ndarray:
    index = nmslib.init(method="hnsw", space=space_of(space).nmslib_space)
    index.addDataPointBatch(base)
    index.createIndex({"M": 16, "efConstruction": 100, "indexThreadQty": 1, "post": 0})
    index.setQueryTimeParams({"efSearch": ef_search})
    return np.array([rows for rows, _ in index.knnQueryBatch(queries, k=10, num_threads=1)])


@pytest.mark.parametrize("builder", ["products", "insertion"])
@pytest.mark.parametrize("space", SPACES)
def test_merged_index_recall_is_that_of_one_build(space: str, builder: str, tmp_path: Path) -> None:
    vectors, queries = clustered(4000, 24), clustered(400, 24, seed=1)
    order = build_whole(vectors, IndexSettings(space=space, shard_items=800, builder=builder), tmp_path / "i")
    base, asked = space_of(space).prepare(vectors), space_of(space).prepare(queries)
    exact = nearest_rows(space, asked, base, 10)
    rows, _ = NativeSearcher(tmp_path / "i", space, 4000, 24).search(queries, 10, 20)
    assert recall(order[rows], exact) >= recall(_in_one_go(space, base, asked, 20), exact) - TOLERANCE


def test_merged_index_every_item_finds_itself(tmp_path: Path) -> None:
    vectors = clustered(1200, 16)
    order = build_whole(vectors, IndexSettings(space="l2", shard_items=150), tmp_path / "i")
    rows, distances = NativeSearcher(tmp_path / "i", "l2", 1200, 16).search(vectors, 1, 100)
    assert (order[rows[:, 0]] == np.arange(1200)).mean() >= 0.999
    assert (distances == 0).mean() >= 0.999


def test_whole_bytes_are_the_same_again_and_in_another_process(tmp_path: Path) -> None:
    program = (
        "import hashlib, sys; from pathlib import Path; from tests.unit.hnsw.test_whole import digest;"
        "print(digest(Path(sys.argv[1])))"
    )
    here = {digest(tmp_path / name) for name in ("first", "again")}
    command = [sys.executable, "-c", program, str(tmp_path / "there")]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert {there.stdout.strip()} == here


def digest(path: Path) -> str:
    """SHA-256 of an index of eight shards, written to `path`."""
    build_whole(clustered(1000, 12), IndexSettings(shard_items=200), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checked(vectors: np.ndarray, settings: IndexSettings, path: Path) -> NativeIndex:
    """Builds; read_index checks every link; every item must stand there once."""
    order = build_whole(vectors, settings, path)
    assert sorted(order) == list(range(len(vectors)))
    index = read_index(path)
    stored = np.array(index.records["vector"]).reshape(vectors.shape)
    np.testing.assert_array_equal(stored, space_of(settings.space).prepare(vectors)[order])
    assert index.records["count"].max(initial=0) <= 2 * settings.m
    assert reachable(index) == set(range(len(vectors)))
    return index


@pytest.mark.parametrize("items", [0, 1, 2, 5, 17])
@pytest.mark.parametrize("space", SPACES)
def test_whole_of_few_items_finds_them_all(items: int, space: str, tmp_path: Path) -> None:
    vectors = clustered(items, 5)
    _checked(vectors, IndexSettings(space=space, shard_items=16), tmp_path / "i")
    rows, _ = NativeSearcher(tmp_path / "i", space, items, 5).search(clustered(1, 5), max(items, 1), 50)
    assert sorted(rows[0]) == list(range(items)) or items == 0


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5, 15, 16, 17, 64, 1024])
def test_whole_any_dimension_is_searchable(dimension: int, tmp_path: Path) -> None:
    vectors = clustered(120, dimension)
    _checked(vectors, IndexSettings(space="l2", shard_items=40), tmp_path / "i")
    _, distances = NativeSearcher(tmp_path / "i", "l2", 120, dimension).search(vectors, 1, 120)
    assert (distances == 0).all()


@pytest.mark.parametrize("space", SPACES)
def test_whole_identical_vectors_are_all_kept(space: str, tmp_path: Path) -> None:
    vectors = np.ones((100, 4), np.float32)
    index = _checked(vectors, IndexSettings(space=space, shard_items=30), tmp_path / "i")
    assert index.header.items == 100
    rows, _ = NativeSearcher(tmp_path / "i", space, 100, 4).search(vectors[:1], 10, 50)
    assert len(set(rows[0].tolist()) - {-1}) == 10


@pytest.mark.parametrize("neighbors", [0, 1, 50])
def test_whole_any_number_of_neighbor_shards_is_whole(neighbors: int, tmp_path: Path) -> None:
    _checked(clustered(300, 6), IndexSettings(shard_items=60, neighbor_shards=neighbors), tmp_path / "i")


@pytest.mark.parametrize("space", SPACES)
def test_whole_with_a_third_the_same_vector_is_whole_and_finds_the_others(space: str, tmp_path: Path) -> None:
    vectors = clustered(900, 8)
    vectors[::3] = vectors[0]
    order = np.asarray(build_whole(vectors, IndexSettings(space=space, shard_items=200), tmp_path / "i"))
    assert reachable(read_index(tmp_path / "i")) == set(range(900))
    queries = clustered(100, 8, seed=1)
    found, _ = NativeSearcher(tmp_path / "i", space, 900, 8).search(queries, 10, 100)
    base, asked = (space_of(space).prepare(v) for v in (vectors, queries))
    gaps = wide_distances(space, asked, base)
    exact = np.sort(gaps, axis=1)[:, 9]
    near = np.take_along_axis(gaps, order[found], axis=1)
    assert (near <= exact[:, None] + 1e-4).mean() >= 0.99


def test_whole_of_tight_groups_finds_the_group_of_every_query(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    centres = draws.normal(size=(60, 32))
    vectors = (centres[draws.integers(0, 60, 6000)] + 0.02 * draws.normal(size=(6000, 32))).astype(np.float32)
    order = build_whole(vectors, IndexSettings(shard_items=1500), tmp_path / "i")
    assert reachable(read_index(tmp_path / "i")) == set(range(6000))
    queries = (centres[np.arange(300) % 60] + 0.02 * draws.normal(size=(300, 32))).astype(np.float32)
    rows, _ = NativeSearcher(tmp_path / "i", "cosine", 6000, 32).search(queries, 10, 100)
    base, asked = space_of("cosine").prepare(vectors), space_of("cosine").prepare(queries)
    assert recall(order[rows], nearest_rows("cosine", asked, base, 10)) >= 0.98
