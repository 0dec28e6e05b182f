"""The whole patch in memory, one shard after the other: the oracle of the Beam stages, and what the benchmark times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import UsageError
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, upper_bytes
from sim_transforms.hnsw.link import Forward, foreign_links, join_forward, split_forward
from sim_transforms.hnsw.partition import centroid_of, nearest_cells
from sim_transforms.hnsw.patch import (
    Additions,
    Published,
    ShardPatch,
    open_published,
    patch_shard,
    place_additions,
)
from sim_transforms.hnsw.patch_finish import finish_shard, patch_anchors
from sim_transforms.hnsw.patch_upper import patch_upper, read_upper
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import UpperLayers
from sim_transforms.hnsw.whole import shard_rows as built_shards
from sim_transforms.records.manifests import RowRange
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Change:
    """What is patched.

    Attributes:
        deleted: [g] int32 rows.
        vectors: [a, d] float32 of the additions, prepared for the space, in the order of their ids.
        levels: [a] int8.
    """

    deleted: Array
    vectors: Array
    levels: Array


@dataclass(frozen=True)
class Patched:
    """The file after the patch.

    Attributes:
        rows: [a] int32, row of each addition, in the order in which they were given.
        free: [f] int32 rows that hold nothing, ascending.
        row_ranges: the old ones, then what was appended.
    """

    rows: Array
    free: Array
    row_ranges: tuple[RowRange, ...]


@dataclass(frozen=True)
class Placed:
    """A change whose additions have their rows.

    Attributes:
        additions: by home shard.
        gone: [rows before] bool: free rows, and those that are deleted.
        final: [a] int32, row of each addition, by number.
        live: [rows after] bool.
        patched: the same as the caller sees it.
    """

    additions: Additions
    gone: Array
    final: Array
    live: Array
    patched: Patched


def place_change(change: Change, parts: tuple[Sequence[RowRange], Array, Array], settings: IndexSettings) -> Placed:
    """Gives the additions rows.

    Args:
        change: deletions and additions.
        parts: of the version: row ranges in row order, centroids [shards, d], free rows [f].
        settings: of the index.
    """
    old_ranges, centroids, free = parts
    items = old_ranges[-1].end_row if old_ranges else 0
    additions, order = group_additions(change, centroids, settings)
    gone = _rows_gone(items, free, change)
    rows = [shard_rows(old_ranges, shard) for shard in range(len(centroids))]
    final, appended = place_additions([own[gone[own]] for own in rows], additions.starts, items)
    ranges = (*old_ranges, *(RowRange(*entry) for entry in appended))
    live = np.zeros(ranges[-1].end_row if ranges else 0, np.bool_)
    live[:items] = ~gone
    live[final] = True
    given = np.empty(len(order), np.int32)
    given[order] = final
    return Placed(additions, gone, final, live, Patched(given, np.flatnonzero(~live).astype(np.int32), ranges))


def _rows_gone(items: int, free: Array, change: Change) -> Array:
    """[items] bool: rows of the version that hold nothing, or nothing any more."""
    gone = np.zeros(items, np.bool_)
    gone[free] = True
    gone[change.deleted] = True
    return gone


def shard_loads(change: Change, parts: tuple[Sequence[RowRange], Array, Array], settings: IndexSettings) -> Array:
    """[shards] int64 items that each shard would hold: a worker of the patch holds their vectors.

    Args:
        change, parts, settings: as of `place_change`.
    """
    ranges, centroids, free = parts
    additions, _ = group_additions(change, centroids, settings)
    gone = _rows_gone(ranges[-1].end_row if ranges else 0, free, change)
    rows = (shard_rows(ranges, shard) for shard in range(len(centroids)))
    live = [len(own) - int(gone[own].sum()) for own in rows]
    return np.array(live, np.int64) + np.diff(additions.starts)


def group_additions(change: Change, centroids: Array, settings: IndexSettings) -> tuple[Additions, Array]:
    """The additions by home shard, and their order: position among those given, by number.

    Args:
        change: with the additions.
        centroids: [shards, d] float32 of the version.
        settings: of the index.
    """
    places = space_of(settings.space).places(change.vectors)
    nearest = nearest_cells(places, centroids, settings.neighbor_shards + 1)
    order = np.argsort(nearest[:, 0], kind="stable")
    starts = np.searchsorted(nearest[order, 0], np.arange(len(centroids) + 1))
    near = nearest[order, 1:]
    rows = np.repeat(np.arange(len(order), dtype=np.int32), near.shape[1])
    by_shard = np.lexsort((rows, near.ravel()))
    asking_starts = np.searchsorted(near.ravel()[by_shard], np.arange(len(centroids) + 1))
    own = (change.vectors[order], starts.astype(np.int64), change.levels[order])
    return Additions(*own, rows[by_shard], asking_starts.astype(np.int64)), order


def shard_rows(row_ranges: Sequence[RowRange], shard: int) -> Array:
    """[s] int32 rows of a shard, ascending."""
    pieces = [np.arange(r.first_row, r.end_row, dtype=np.int32) for r in row_ranges if r.shard == shard]
    return np.concatenate([np.zeros(0, np.int32), *pieces])


def parts_of_whole(vectors: Array, item_ids: list[str], settings: IndexSettings) -> tuple[tuple[RowRange, ...], Array]:
    """(row ranges, centroids [shards, d]) of the index that `build_whole` makes of vectors and ids."""
    space = space_of(settings.space)
    places = space.places(space.prepare(vectors))
    ranges, centroids, first = [], [], 0
    for number, rows in enumerate(built_shards(places, item_ids, settings)):
        ranges.append(RowRange(number, first, first + len(rows)))
        centroids.append(centroid_of(places[rows]))
        first += len(rows)
    return tuple(ranges), np.stack(centroids) if centroids else np.zeros((0, vectors.shape[1]), np.float32)


def patch_whole(
    source: Path,
    target: Path,
    change: Change,
    parts: tuple[Sequence[RowRange], Array, Array],
    settings: IndexSettings,
) -> Patched:
    """Patches `source` into the new file `target`.

    Args:
        source: a published index.hnsw.
        target: path of the new one.
        change: deletions and additions.
        parts: of the version: row ranges in row order, centroids [shards, d], free rows [f].
        settings: of the index.

    Raises:
        UsageError: no item would be left; an index without items is built.
    """
    row_ranges, centroids, _ = parts
    placed = place_change(change, parts, settings)
    if not placed.live.any():
        raise UsageError("no item would be left after the patch; build an index without items instead")
    additions, ranges = placed.additions, placed.patched.row_ranges
    published = open_published(source, placed.gone, additions.vectors)
    old = read_upper(published)
    patches: list[ShardPatch] = []
    found: list[tuple[int, Forward]] = []
    for shard in range(len(centroids)):
        own = shard_rows(row_ranges, shard)
        levels = levels_of(old.rows, old.levels, own)
        patch, forward = patch_shard(published, shard, own, levels, additions, settings)
        patches.append(patch)
        found += split_forward(forward, additions.starts[:-1] + published.header.items)
    roots = [(patch.number, patch.root) for patch in patches]
    lists = np.empty((len(placed.live), 2 * settings.m), np.int32)
    lists[~placed.live] = -1
    for patch in patches:
        home = join_forward([piece for shard, piece in found if shard == patch.number], foreign_links(settings))
        anchors = patch_anchors(patch.number, roots)
        numbers, links = finish_shard(published, patch, home, placed.final, anchors)
        lists[numbers] = links
    lowest = min(root for _, root in roots if root >= 0)
    upper = patch_upper(published, old, additions, placed.final, lowest, settings)
    write_patched(target, published, (ranges, placed.final, additions), lists, upper, settings)
    return placed.patched


def levels_of(upper_rows: Array, upper_levels: Array, rows: Array) -> Array:
    """[s] int8 levels of rows; [u] rows of level >= 1, ascending, and their levels are given."""
    if not len(upper_rows):
        return np.zeros(len(rows), np.int8)
    place = np.minimum(np.searchsorted(upper_rows, rows), len(upper_rows) - 1)
    return np.where(upper_rows[place] == rows, upper_levels[place], 0).astype(np.int8)


def write_patched(
    target: Path,
    published: Published,
    placed: tuple[Sequence[RowRange], Array, Additions],
    lists: Array,
    upper: UpperLayers,
    settings: IndexSettings,
) -> None:
    """Writes the file, range by range."""
    ranges, final, additions = placed
    total = ranges[-1].end_row if ranges else 0
    with target.open("wb") as file:
        file.write(header_bytes(total, published.header.dimension, settings, upper))
        for part in ranges:
            vectors = range_vectors(published, part, final, additions)
            file.write(record_bytes(vectors, part.first_row, lists[part.first_row : part.end_row]))
        for part in ranges:
            file.write(upper_bytes(part.first_row, part.end_row - part.first_row, upper, settings))


def range_vectors(published: Published, part: RowRange, final: Array, additions: Additions) -> Array:
    """[r, d] float32 of the rows of a range after the patch; zeros where a row is free."""
    count = part.end_row - part.first_row
    vectors = np.zeros((count, published.header.dimension), np.float32)
    old = min(part.end_row, published.header.items) - part.first_row
    if old > 0:
        vectors[:old] = published.records["vector"][part.first_row : part.first_row + old]
        vectors[:old][published.gone[part.first_row : part.first_row + old]] = 0
    inside = np.flatnonzero((final >= part.first_row) & (final < part.end_row))
    vectors[final[inside] - part.first_row] = additions.vectors[inside]
    return vectors
