"""Patching a file: rows, recall, untouched lists, bytes."""

from pathlib import Path

import numpy as np
import pytest

from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.patch import place_additions
from sim_transforms.hnsw.patch_whole import Change, shard_loads
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.records.manifests import RowRange
from sim_transforms.settings.stages import IndexSettings
from tests.properties.test_patch_properties import assert_whole, build
from tests.unit.hnsw.clouds import clustered, nearest_rows, recall

LEVELS = np.zeros(3, np.int8)


@pytest.mark.parametrize("space", SPACES)
def test_patch_keeps_the_recall_of_a_rebuild_round_after_round(space: str, tmp_path: Path) -> None:
    index = IndexSettings(space=space, shard_items=600, ef_construction=60)
    vectors, queries = clustered(6000, 16), clustered(300, 16, seed=3)
    catalog = build(tmp_path, vectors[:3000], index)
    generator, taken = np.random.default_rng(0), 3000
    for _ in range(5):
        deleted = generator.choice(sorted(catalog.held), 150, replace=False).tolist()
        catalog.patch(deleted, space_of(space).prepare(vectors[taken : taken + 300]))
        taken += 300
    rows = np.array(sorted(catalog.held))
    live = np.stack([catalog.held[row] for row in rows])
    asked = space_of(space).prepare(queries)
    exact = nearest_rows(space, asked, live, 10)
    patched, _ = NativeSearcher(catalog.path, space, catalog.ranges[-1].end_row, 16).search_native(asked, 10, 20)
    order = build_whole(live, index, tmp_path / "rebuilt")
    rebuilt, _ = NativeSearcher(tmp_path / "rebuilt", space, len(live), 16).search(asked, 10, 20)
    assert recall(patched, rows[exact]) >= recall(order[rebuilt], exact) - 0.01


def test_patch_of_nothing_gives_the_same_bytes(tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(500, 8), IndexSettings(space="l2", shard_items=120))
    before = catalog.path.read_bytes()
    catalog.patch([], np.zeros((0, 8), np.float32))
    assert catalog.path.read_bytes() == before


def test_patch_again_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        catalog = build(tmp_path / name, clustered(500, 8), IndexSettings(space="l2", shard_items=120))
        catalog.patch([3, 7, 400], clustered(40, 8, seed=2))
        written.append(catalog.path.read_bytes())
    assert written[0] == written[1]


def test_patch_leaves_lists_alone_that_nothing_happened_to(tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(2000, 8), IndexSettings(space="l2", shard_items=500))
    before = read_index(catalog.path)
    old = before.records["links"].copy(), before.records["count"].copy()
    catalog.patch([10, 1500], np.zeros((0, 8), np.float32))
    after = read_index(catalog.path).records
    pointing = [{10, 1500} & set(line[:count].tolist()) for line, count in zip(*old, strict=True)]
    untouched = np.array([not hit for hit in pointing])
    untouched[[10, 1500]] = False
    same = (after["links"][untouched] == old[0][untouched]).all(axis=1)
    # A few more may give a place to a row that would be out of reach.
    assert same.mean() >= 0.999


def test_patch_takes_free_rows_before_it_appends(tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(300, 8), IndexSettings(space="l2", shard_items=100))
    catalog.patch(list(range(0, 60)), np.zeros((0, 8), np.float32))
    assert len(catalog.free) == 60
    catalog.patch([], clustered(80, 8, seed=4))
    assert (len(catalog.free), catalog.ranges[-1].end_row) == (0, 320)
    assert_whole(catalog, read_index(catalog.path))


def test_patch_that_deletes_the_entry_point_and_a_whole_shard_stays_whole(tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(400, 8), IndexSettings(space="cosine", shard_items=100))
    first = catalog.ranges[0]
    gone = {read_index(catalog.path).header.entry_row, *range(first.first_row, first.end_row)}
    catalog.patch(sorted(gone), np.zeros((0, 8), np.float32))
    assert_whole(catalog, read_index(catalog.path))
    added = space_of("cosine").prepare(clustered(50, 8, seed=5))
    catalog.patch([], added)
    assert_whole(catalog, read_index(catalog.path))


def test_patch_with_many_of_one_vector_finds_them(tmp_path: Path) -> None:
    index = IndexSettings(space="l2", shard_items=300)
    catalog = build(tmp_path, clustered(600, 8), index)
    same = np.repeat(clustered(1, 8, seed=9), 100, axis=0)
    patched = catalog.patch([], same)
    assert_whole(catalog, read_index(catalog.path))
    searcher = NativeSearcher(catalog.path, "l2", catalog.ranges[-1].end_row, 8)
    rows, distances = searcher.search_native(same[:1], 10, 50)
    assert (distances == 0).all()
    assert set(rows[0].tolist()) <= set(patched.rows.tolist())


def test_place_additions_own_free_rows_first_then_others_then_new_ones() -> None:
    free = [np.array([4, 9], np.int32), np.array([20, 21, 22], np.int32)]
    final, appended = place_additions(free, np.array([0, 6, 7]), 30)
    assert final.tolist() == [4, 9, 21, 22, 30, 31, 20]
    assert appended == [(0, 30, 32)]


def test_patch_by_patch_twins_leave_the_links_of_the_first_alone(tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(1500, 16), IndexSettings(space="l2", shard_items=400))
    again = catalog.held[700].copy()
    for _ in range(20):
        catalog.patch([], np.stack([again, again]))
    found = read_index(catalog.path).records
    links = found["links"][700][: found["count"][700]]
    twins = [row for row, vector in catalog.held.items() if (vector == again).all()]
    assert len(twins) == 41
    assert np.isin(links, twins).sum() <= 4
    assert len(links) >= 8
    assert_whole(catalog, read_index(catalog.path))


def test_patch_with_many_of_one_vector_abroad_fills_no_other_lists(tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(1500, 16), IndexSettings(space="l2", shard_items=400))
    catalog.patch([], np.repeat(clustered(1, 16, seed=8), 30, axis=0))
    found = read_index(catalog.path).records
    old = [found["links"][row][: found["count"][row]] for row in range(1500)]
    assert max((links >= 1500).sum() for links in old) <= 4


def test_shard_loads_count_live_rows_and_additions_at_home() -> None:
    ranges = (RowRange(0, 0, 4), RowRange(1, 4, 6))
    centroids = np.array([[0.0, 0.0], [10.0, 0.0]], np.float32)
    change = Change(np.array([1], np.int32), np.array([[9.0, 0.0], [11.0, 0.0], [1.0, 0.0]], np.float32), LEVELS)
    free = np.array([2], np.int32)
    loads = shard_loads(change, (ranges, centroids, free), IndexSettings(space="l2"))
    assert loads.tolist() == [2 + 1, 2 + 2]
