"""The whole patch in memory, one shard after the other: the oracle of the Beam stages, and what the benchmark times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import UsageError
from sim_transforms.hnsw.connect import anchors_of
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, upper_bytes
from sim_transforms.hnsw.link import Forward
from sim_transforms.hnsw.partition import centroid_of, nearest_cells
from sim_transforms.hnsw.patch import (
    Additions,
    Published,
    finish_shard,
    open_published,
    patch_shard,
    place_additions,
)
from sim_transforms.hnsw.patch_upper import OldUpper, patch_upper, read_upper
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
        repaired: lists that pointed at a row that is gone.
    """

    rows: Array
    free: Array
    row_ranges: tuple[RowRange, ...]
    repaired: int


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
    row_ranges, centroids, free = parts
    additions, order = group_additions(change, centroids, settings)
    items = row_ranges[-1].end_row if row_ranges else 0
    gone = np.zeros(items, np.bool_)
    gone[free] = True
    gone[change.deleted] = True
    published = open_published(source, gone, additions.vectors)
    old = read_upper(published)
    rows = [shard_rows(row_ranges, shard) for shard in range(len(centroids))]
    patches, found = [], []
    for shard, own in enumerate(rows):
        patch, forward = patch_shard(published, shard, own, levels_of(old, own), additions, settings)
        patches.append(patch)
        found.append(forward)
    joined = Forward(
        *(np.concatenate([getattr(f, name) for f in found]) for name in ("rows", "candidates", "distances"))
    )
    final, appended = place_additions([own[gone[own]] for own in rows], additions.starts, items)
    ranges = (*row_ranges, *(RowRange(*entry) for entry in appended))
    total = ranges[-1].end_row if ranges else 0
    lists = np.full((total, 2 * settings.m), -1, np.int32)
    if not any(len(patch.live) + len(patch.home) for patch in patches):
        raise UsageError("no item would be left after the patch; build an index without items instead")
    roots = np.array([patch.root for patch in patches if patch.root >= 0], np.int64)
    place = 0
    for patch in patches:
        anchors = np.zeros(0, np.int32)
        if patch.root >= 0:
            anchors, place = anchors_of(place, roots), place + 1
        at = np.arange(additions.starts[patch.number], additions.starts[patch.number + 1]) + items
        mine = (joined.rows >= at[0]) & (joined.rows <= at[-1]) if len(at) else np.zeros(len(joined.rows), np.bool_)
        home = Forward(joined.rows[mine], joined.candidates[mine], joined.distances[mine])
        numbers, links = finish_shard(published, patch, home, final, anchors)
        lists[numbers] = links
    upper = patch_upper(published, old, additions, final, int(roots.min()), settings)
    write_patched(target, published, (ranges, final, additions), lists, upper, settings)
    filled = np.zeros(total, np.bool_)
    filled[:items] = ~gone
    filled[final] = True
    given = np.empty(len(order), np.int32)
    given[order] = final
    return Patched(given, np.flatnonzero(~filled).astype(np.int32), ranges, sum(p.repaired for p in patches))


def levels_of(old: OldUpper, rows: Array) -> Array:
    """[s] int8 levels of rows."""
    if not len(old.rows):
        return np.zeros(len(rows), np.int8)
    place = np.minimum(np.searchsorted(old.rows, rows), len(old.rows) - 1)
    return np.where(old.rows[place] == rows, old.levels[place], 0).astype(np.int8)


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
