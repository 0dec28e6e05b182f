"""A patched file: nothing lost, nothing left over, whatever is deleted and added, round after round."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_transforms.hnsw.file_format import NativeIndex, read_index
from sim_transforms.hnsw.levels import draw_levels
from sim_transforms.hnsw.patch_whole import Change, Patched, parts_of_whole, patch_whole
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.records.manifests import RowRange
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import reachable

# Few different values, so that identical vectors are common; none is zero, which cosine would refuse.
VALUES = np.array([-2.0, -1.0, 0.5, 1.0, 3.0], np.float32)


@dataclass
class Catalog:
    """A version that is patched, and what it must hold."""

    folder: Path
    settings: IndexSettings
    path: Path
    held: dict[int, np.ndarray]
    ranges: tuple[RowRange, ...]
    centroids: np.ndarray
    free: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    made: int = 0

    def patch(self, deleted: list[int], vectors: np.ndarray) -> Patched:
        """One round."""
        target = self.folder / f"{self.made}.hnsw"
        levels = draw_levels([f"{self.made}-{i}" for i in range(len(vectors))], self.settings.m, 0)
        change = Change(np.array(sorted(deleted), np.int32), vectors, levels)
        parts = (self.ranges, self.centroids, self.free)
        patched = patch_whole(self.path, target, change, parts, self.settings)
        for row in deleted:
            del self.held[row]
        self.held.update(zip(patched.rows.tolist(), vectors, strict=True))
        self.path, self.ranges, self.free, self.made = target, patched.row_ranges, patched.free, self.made + 1
        return patched


def build(folder: Path, vectors: np.ndarray, index: IndexSettings) -> Catalog:
    """A first version."""
    prepared = space_of(index.space).prepare(vectors)
    order = build_whole(vectors, index, folder / "first.hnsw")
    ranges, centroids = parts_of_whole(vectors, [str(i) for i in range(len(vectors))], index)
    held = dict(enumerate(prepared[order]))
    return Catalog(folder, index, folder / "first.hnsw", held, ranges, centroids)


def assert_whole(catalog: Catalog, index: NativeIndex) -> None:
    """What holds of every patched file; `read_index` has checked that links are in range, to others, and once."""
    rows, free = sorted(catalog.held), set(catalog.free.tolist())
    total = catalog.ranges[-1].end_row
    assert index.header.items == total
    assert sorted([*rows, *free]) == list(range(total))
    vectors = np.asarray(index.records["vector"])
    np.testing.assert_array_equal(vectors[rows], np.array([catalog.held[row] for row in rows]))
    assert not vectors[sorted(free)].any()
    assert not index.records["count"][sorted(free)].any()
    assert not index.levels[sorted(free)].any()
    for record in index.records[rows]:
        assert not free & set(record["links"][: record["count"]].tolist())
    assert index.header.entry_row in catalog.held
    assert reachable(index) == set(rows)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_patched_file_holds_what_it_should_and_every_row_is_reached(data: Any) -> None:
    space = data.draw(st.sampled_from(sorted(SPACES)))
    generator = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    dimension = data.draw(st.integers(1, 5))
    index = IndexSettings(space=space, shard_items=16, m=data.draw(st.integers(2, 6)), ef_construction=20)
    with TemporaryDirectory() as folder:
        catalog = build(Path(folder), generator.choice(VALUES, (data.draw(st.integers(1, 90)), dimension)), index)
        for _ in range(3):
            rows = sorted(catalog.held)
            deleted = generator.choice(rows, data.draw(st.integers(0, len(rows) - 1)), replace=False).tolist()
            added = generator.choice(VALUES, (data.draw(st.integers(0, 40)), dimension))
            patched = catalog.patch(deleted, space_of(space).prepare(added))
            assert_whole(catalog, read_index(catalog.path))
            assert len(set(patched.rows.tolist())) == len(added)


@given(st.integers(0, 10**6), st.sampled_from(sorted(SPACES)))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_stock_search_of_a_patched_file_answers_with_live_rows_alone(seed: int, space: str) -> None:
    generator = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        index = IndexSettings(space=space, shard_items=40, m=8, ef_construction=60)
        catalog = build(Path(folder), generator.normal(size=(200, 8)).astype(np.float32), index)
        added = space_of(space).prepare(generator.normal(size=(60, 8)).astype(np.float32))
        catalog.patch(generator.choice(200, 100, replace=False).tolist(), added)
        searcher = NativeSearcher(catalog.path, space, catalog.ranges[-1].end_row, 8)
        rows, _ = searcher.search_native(added, 10, 100)
        assert set(rows.ravel().tolist()) <= set(catalog.held)
