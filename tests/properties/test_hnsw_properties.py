"""Partition, merge and file: nothing lost, nothing twice, the same whatever the batches."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sim_transforms.hnsw.cells import arrange
from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.link import Forward, LinkedShard
from sim_transforms.hnsw.merge import merge_links
from sim_transforms.hnsw.partition import fit_partition, nearest_cells, split_cell
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import reachable

M = 3
FIRST = 20
FEW = settings(max_examples=20, deadline=None, derandomize=True)
SOME = settings(max_examples=60, deadline=None, derandomize=True)

# Few different values, so that ties, zeros and identical vectors are common.
VALUES = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])


def _vectors(least: int = 0) -> st.SearchStrategy[Any]:
    shapes = st.tuples(st.integers(least, 60), st.integers(1, 6))
    return shapes.flatmap(lambda shape: arrays.arrays(np.float32, shape, elements=VALUES))


@given(_vectors(), st.integers(1, 20), st.integers(0, 3))
@SOME
def test_split_cell_parts_have_no_gaps_and_hold_at_most_the_cap(vectors: Any, cap: int, seed: int) -> None:
    parts = split_cell(vectors, cap, seed)
    sizes = np.bincount(parts, minlength=1 if len(parts) else 0)
    assert len(parts) == len(vectors)
    assert (sizes >= 1).all()
    assert sizes.max(initial=0) <= cap


@given(_vectors(least=1), st.integers(1, 20), st.data())
@SOME
def test_nearest_cells_cut_anywhere_are_the_same(vectors: Any, cap: int, data: Any) -> None:
    centroids = fit_partition(vectors, len(vectors), cap, 0).centroids
    at = data.draw(st.integers(0, len(vectors)))
    halves = [nearest_cells(part, centroids, 3) for part in (vectors[:at], vectors[at:])]
    whole = nearest_cells(vectors, centroids, 3)
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    assert all(len(set(row)) == min(3, len(centroids)) for row in whole.tolist())


@st.composite
def _links(draw: Any) -> tuple[LinkedShard, Forward]:
    """Distances are a function of the pair, as they are in an index."""
    items = draw(st.integers(1, 5))
    table = draw(arrays.arrays(np.float32, (items, 41), elements=st.integers(0, 9)))
    own = draw(arrays.arrays(np.int32, (items, 2 * M), elements=st.integers(-1, 40)))
    rows = draw(st.lists(st.integers(0, items - 1), max_size=8))
    cross = draw(arrays.arrays(np.int32, (len(rows), M), elements=st.integers(-1, 40)))
    local = np.array(rows, np.int32).reshape(-1)
    return (
        LinkedShard(FIRST, own, _far(own, table, np.arange(items))),
        Forward(local + FIRST, cross, _far(cross, table, local)),
    )


def _far(links: Any, table: Any, rows: Any) -> Any:
    return np.where(links >= 0, table[rows[:, None], links], np.float32(np.inf)).astype(np.float32)


@given(_links())
@SOME
def test_merge_links_are_the_nearest_different_candidates(links: tuple[LinkedShard, Forward]) -> None:
    linked, forward = links
    merged = merge_links(linked, forward)
    for row, found in enumerate(merged.tolist()):
        mine = forward.rows == FIRST + row
        names = [*linked.links[row].tolist(), *forward.candidates[mine].ravel().tolist()]
        gaps = [*linked.distances[row].tolist(), *forward.distances[mine].ravel().tolist()]
        far = {n: g for n, g in zip(names, gaps, strict=True) if n >= 0 and n != FIRST + row}
        kept = [n for n in found if n >= 0]
        assert found == kept + [-1] * (2 * M - len(kept))
        assert len(set(kept)) == len(kept) == min(2 * M, len(far))
        assert [far[n] for n in kept] == sorted(far.values())[: len(kept)]


@given(_vectors(), st.sampled_from(sorted(SPACES)), st.integers(0, 3))
@FEW
def test_whole_holds_every_item_once(vectors: Any, space: str, neighbors: int) -> None:
    chosen = IndexSettings(space=space, shard_items=16, neighbor_shards=neighbors, m=M)
    with TemporaryDirectory() as folder:
        order = build_whole(vectors, chosen, Path(folder) / "i")
        index = read_index(Path(folder) / "i")
        stored = np.array(index.records["vector"])
        reached = reachable(index)
    assert sorted(order.tolist()) == list(range(len(vectors)))
    np.testing.assert_array_equal(stored, space_of(space).prepare(vectors)[order])
    assert reached == set(range(len(vectors)))


@given(_vectors(least=1), st.integers(1, 20), st.integers(0, 2))
@SOME
def test_partition_gives_every_item_a_group_whatever_the_batch(vectors: Any, cap: int, seed: int) -> None:
    ids = [str(row) for row in range(len(vectors))]
    partition = fit_partition(vectors, len(vectors), cap, seed)
    groups = partition.groups_of(vectors, ids)
    single = [int(partition.groups_of(vectors[row : row + 1], [ids[row]])[0]) for row in range(len(vectors))]
    assert groups.tolist() == single
    assert groups.min() >= 0
    assert groups.max() < partition.parts.sum()
    assert (partition.parts >= 1).all()


@given(_vectors(), st.sampled_from(sorted(SPACES)))
@SOME
def test_arrange_orders_every_row_once_and_cells_cover_them(vectors: Any, space: str) -> None:
    order, cells = arrange(vectors, space_of(space))
    assert sorted(order.tolist()) == list(range(len(vectors)))
    assert cells.starts[0] == 0
    assert cells.distinct + len(cells.twins) == len(vectors)
    assert (np.diff(cells.starts) >= 0).all()
    ordered = vectors[order]
    assert len(np.unique(ordered[: cells.distinct], axis=0)) == cells.distinct
    np.testing.assert_array_equal(ordered[cells.distinct :], ordered[cells.twins])
