"""Shards that stay apart: routed as an exact search would, merged as one, opened within a budget, never left out."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw import routed
from sim_transforms.hnsw.routed import OpenShards, RoutedIndex, RoutedSearcher, group_by_shard, points_of, route
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.records.manifests import FileEntry
from sim_transforms.settings.stages import IndexSettings, SearchSettings
from tests.unit.hnsw.clouds import clustered, nearest_rows, wide_distances
from tests.unit.hnsw.plain_shards import plain_shards, ring, write_shards

ITEMS, DIMENSION, MIB = 600, 12, 2**20
ALL = SearchSettings(probe=1000)

_MEMORY = """
import sys
from pathlib import Path
import numpy as np
from sim_transforms.hnsw.routed import RoutedSearcher
from sim_transforms.settings.stages import IndexSettings, SearchSettings
from tests.unit.hnsw.plain_shards import ring, write_shards

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20

settings = IndexSettings(space="l2", m=4)
graphs = [ring(4000 if seed < 11 else 1000, 256, 4, seed) for seed in range(12)]
index = write_shards(graphs, settings, Path(sys.argv[1]))
budget = int(sys.argv[2]) or None
searcher = RoutedSearcher(index, SearchSettings(probe=1, memory_budget_mib=budget))
searcher.search(index.points[:1], 5, 20)
before, most = resident(), 0
for number in range(12):
    searcher.search(index.points[number : number + 1], 5, 20)
    most = max(most, resident() - before)
print(most, resident() - before, len(searcher.open_shards))
"""


def _small(folder: Path, space: str = "l2", cap: int = 100) -> tuple[RoutedIndex, np.ndarray]:
    return plain_shards(clustered(ITEMS, DIMENSION), IndexSettings(space=space, shard_items=cap), folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RoutedIndex:
    return _small(tmp_path_factory.mktemp("routed"))[0]


@pytest.mark.parametrize("space", SPACES)
def test_search_probing_all_shards_equals_brute_force(space: str, tmp_path: Path) -> None:
    index, order = _small(tmp_path, space)
    vectors, queries = clustered(ITEMS, DIMENSION), clustered(50, DIMENSION, seed=1) * np.float32(3)
    rows, distances = RoutedSearcher(index, ALL).search(queries, 10, 200)
    prepare = space_of(space).prepare
    exact = nearest_rows(space, prepare(queries), prepare(vectors), 10)
    assert len(index.shards) > 5
    np.testing.assert_array_equal(order[rows], exact)
    native = wide_distances(space, prepare(queries), prepare(vectors))
    shown = {"cosine": native / 2, "l2": np.sqrt(np.abs(native)), "inner_product": native}[space]
    np.testing.assert_allclose(distances, np.take_along_axis(shown, exact, axis=1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("space", ["cosine", "l2"])
def test_route_is_by_euclidean_distance_to_the_centroids(space: str, tmp_path: Path) -> None:
    points = _small(tmp_path, space)[0].points
    queries = space_of(space).prepare(clustered(30, DIMENSION, seed=2))
    np.testing.assert_array_equal(route(queries, points, 3, False), nearest_rows("l2", queries, points, 3))


@pytest.mark.parametrize("length", [1e-20, 1.0, 1e25])
def test_route_of_inner_products_is_by_the_largest_product(length: float) -> None:
    generator = np.random.default_rng(0)
    centroids = (generator.normal(size=(9, 5)) * generator.lognormal(0, 1, (9, 1))).astype(np.float32)
    queries = generator.normal(size=(40, 5)).astype(np.float32) * np.float32(length)
    found = route(queries, centroids * np.float32(length), 4, True)
    np.testing.assert_array_equal(found, nearest_rows("inner_product", queries, centroids, 4))


def test_points_of_inner_products_reach_as_far_as_the_longest_vector() -> None:
    """A shard of one long vector a little off the query is searched before shards of short ones beside it."""
    centroids = np.array([[1, 0], [0.8, 0.6]], np.float32)
    query = np.array([[1, 0]], np.float32)
    assert route(query, points_of(centroids, np.array([1, 1], np.float32)), 1, True).tolist() == [[0]]
    assert route(query, points_of(centroids, np.array([1, 2], np.float32)), 1, True).tolist() == [[1]]
    assert points_of(centroids, None) is centroids


def test_route_of_equal_centroids_takes_the_lower_number() -> None:
    centroids = np.ones((5, 3), np.float32)
    assert route(np.ones((2, 3), np.float32), centroids, 2, False).tolist() == [[0, 1], [0, 1]]
    assert route(np.ones((2, 3), np.float32), centroids, 9, True).tolist() == [[0, 1, 2, 3, 4]] * 2


def test_group_by_shard_holds_every_query_under_each_of_its_shards() -> None:
    groups = group_by_shard(np.array([[2, 0], [0, 1], [2, 1]], np.int32))
    assert {number: places.tolist() for number, places in groups.items()} == {0: [0, 1], 1: [1, 2], 2: [0, 2]}
    assert group_by_shard(np.zeros((0, 2), np.int32)) == {}


def test_search_one_probe_opens_the_nearest_shard_alone(small: RoutedIndex) -> None:
    searcher = RoutedSearcher(small, SearchSettings(probe=1))
    rows, _ = searcher.search(small.points[3:4], 5, 50)
    shard = small.shards[3]
    assert searcher.open_shards == [3]
    assert ((rows >= shard.first_row) & (rows < shard.first_row + shard.items)).all()


def test_search_more_than_the_probed_shards_hold_is_padded(small: RoutedIndex) -> None:
    rows, distances = RoutedSearcher(small, SearchSettings(probe=1)).search(small.points[:1], ITEMS, 50)
    held = small.shards[0].items
    assert sorted(rows[0, :held]) == list(range(held))
    assert (rows[0, held:] == -1).all()
    assert np.isinf(distances[0, held:]).all()


def test_search_no_queries_and_no_shards_gives_no_answers(small: RoutedIndex) -> None:
    assert RoutedSearcher(small, ALL).search(clustered(0, DIMENSION), 5, 10)[0].shape == (0, 5)
    empty = RoutedIndex([], np.zeros((0, 0), np.float32), "l2", DIMENSION)
    assert (RoutedSearcher(empty, ALL).search(clustered(2, DIMENSION), 3, 10)[0] == -1).all()


@pytest.mark.parametrize(("dimension", "k", "ef"), [(DIMENSION + 1, 1, 1), (DIMENSION, 0, 1), (DIMENSION, 1, 0)])
def test_search_wrong_request_is_refused(small: RoutedIndex, dimension: int, k: int, ef: int) -> None:
    with pytest.raises(UsageError, match="expected"):
        RoutedSearcher(small, ALL).search(clustered(1, dimension), k, ef)


def test_search_a_batch_opens_each_shard_once(small: RoutedIndex) -> None:
    opened: list[FileEntry] = []
    RoutedSearcher(small, ALL, opened.append).search(clustered(200, DIMENSION, seed=3), 5, 20)
    assert sorted(e.name for e in opened) == [s.entry.name for s in small.shards]


def test_search_in_blocks_gives_the_same_answers(small: RoutedIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = clustered(50, DIMENSION, seed=4)
    whole = RoutedSearcher(small, SearchSettings(probe=2)).search(queries, 5, 20)
    monkeypatch.setattr(routed, "BLOCK", 7)
    in_blocks = RoutedSearcher(small, SearchSettings(probe=2)).search(queries, 5, 20)
    np.testing.assert_array_equal(whole[0], in_blocks[0])
    np.testing.assert_array_equal(whole[1], in_blocks[1])


def test_search_next_block_begins_with_the_shards_that_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = IndexSettings(space="l2", m=4)
    index = write_shards([ring(300, 256, 4, seed) for seed in range(6)], settings, tmp_path)
    monkeypatch.setattr(routed, "BLOCK", 4)
    opened: list[FileEntry] = []
    limits = SearchSettings(probe=6, memory_budget_mib=1)
    RoutedSearcher(index, limits, opened.append).search(index.points[[0] * 8], 5, 20)
    # Three of the six files fit: the second block finds those three open.
    assert len(opened) == 6 + 3


def _fake(number: int) -> NativeSearcher:
    return number  # type: ignore[return-value]


def test_open_shards_never_exceed_the_budget_and_close_the_least_recently_used() -> None:
    sizes = [3 * MIB, 4 * MIB, 2 * MIB, 5 * MIB, 1 * MIB]
    shards = OpenShards(sizes, 9, _fake)
    for number in (0, 1, 2, 0):
        shards.get(number)
    assert shards.numbers == [1, 2, 0]
    shards.get(4)
    assert shards.numbers == [2, 0, 4]
    for number in np.random.default_rng(0).integers(0, 5, 200).tolist():
        assert shards.get(number) == number
        assert shards.numbers[-1] == number
        assert sum(sizes[n] for n in shards.numbers) <= 9 * MIB


def test_open_shards_without_a_budget_stay_open() -> None:
    shards = OpenShards([10**12] * 4, None, _fake)
    for number in range(4):
        shards.get(number)
    assert shards.numbers == [0, 1, 2, 3]


def test_open_shards_budget_below_the_largest_says_what_is_needed() -> None:
    with pytest.raises(UsageError, match=f"found 2; the largest shard file holds {2 * MIB + 1} bytes: at least 3 MiB"):
        OpenShards([MIB, 2 * MIB + 1], 2, _fake)
    OpenShards([MIB, 2 * MIB], 2, _fake)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory from /proc")
def test_search_evicted_shards_give_their_memory_back(tmp_path: Path) -> None:
    """Eleven shards of 4 MiB and then one of 1: all stay without a budget, one of 9 MiB ends with 4 + 1."""
    most, left = {}, {}
    for budget in (0, 9):
        arguments = [sys.executable, "-c", _MEMORY, str(tmp_path / str(budget)), str(budget)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        most[budget], left[budget], held = (int(word) for word in done.stdout.split())
        assert held == (2 if budget else 12)
    assert left[0] >= 36
    assert most[9] <= 9
    # The first shard is open before anything is measured: of the 5 MiB that are left open, 1 or so is seen.
    assert left[9] <= 2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("damage", "said"), [("remove", "is missing"), ("cut", "its manifest says")])
def test_search_missing_or_short_shard_is_refused(damage: str, said: str, when: str, tmp_path: Path) -> None:
    index, _ = _small(tmp_path)
    searcher = RoutedSearcher(index, ALL) if when == "after" else None
    path = index.shards[2].path
    path.unlink() if damage == "remove" else path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedArtefact, match=f"000002.hnsw.*{said}"):
        (searcher or RoutedSearcher(index, ALL)).search(clustered(1, DIMENSION), 5, 20)


def test_search_damaged_header_never_reaches_nmslib(tmp_path: Path) -> None:
    index, _ = _small(tmp_path)
    path = index.shards[1].path
    path.write_bytes(bytes(8) + path.read_bytes()[8:])
    with pytest.raises(DamagedArtefact, match=r"000001\.hnsw"):
        RoutedSearcher(index, ALL).search(clustered(1, DIMENSION), 5, 20)


def test_search_shard_of_another_row_range_is_refused(small: RoutedIndex) -> None:
    first = small.shards[0]
    wrong = replace(small, shards=[replace(first, items=first.items + 1), *small.shards[1:]])
    with pytest.raises(DamagedArtefact, match=f"{first.items} items of dimension 12; expected {first.items + 1}"):
        RoutedSearcher(wrong, ALL).search(clustered(1, DIMENSION), 5, 20)


def test_searcher_centroids_that_do_not_fit_the_shards_are_refused(small: RoutedIndex) -> None:
    with pytest.raises(DamagedArtefact, match="centroids of shape"):
        RoutedSearcher(replace(small, points=small.points[1:]), ALL)
    with pytest.raises(DamagedArtefact, match="finite"):
        RoutedSearcher(replace(small, points=small.points * np.float32(np.nan)), ALL)
