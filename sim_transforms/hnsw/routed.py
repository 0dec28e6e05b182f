"""Searches shards that stay apart, for catalogs larger than memory: each query in the shards of the nearest centroids.

Shards are opened when a query needs them and closed, least recently used first, before the files that are open would
outgrow the budget. A shard that is missing or damaged is an error, never fewer answers. An index that fits into memory
is searched faster at the same recall as one merged graph (`search.py`).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw.memory import give_memory_back
from sim_transforms.hnsw.partition import nearest_cells
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.searcher import Searcher
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.records.manifests import FileEntry
from sim_transforms.settings.stages import SearchSettings

Array = np.ndarray[Any, Any]

# Queries of one block; within a block each shard is opened at most once. Fewer where k is large: a block's answers
# stay below some 16 MiB.
BLOCK = 8192
_BLOCK_ANSWERS = 2**21
_MIB = 2**20


@dataclass(frozen=True)
class RoutedShard:
    """A shard's own native file; its local row i is row `first_row` + i of the version."""

    path: Path
    first_row: int
    items: int
    entry: FileEntry


@dataclass(frozen=True)
class RoutedIndex:
    """All shards in row order.

    Attributes:
        points: [shards, dimension] float32, by which queries are routed: the mean of each shard; in `inner_product`
            the mean of its directions, as long as that times its longest vector (`points_of`).
        space: cosine, l2 or inner_product.
    """

    shards: Sequence[RoutedShard]
    points: Array
    space: str
    dimension: int


class OpenShards:
    """The shards that are open; the bytes of their files stay within the budget.

    Args:
        sizes: bytes of each shard's file.
        budget_mib: MiB of files that may be open at once, or null for no limit.
        open_shard: opens the shard of a number.

    Raises:
        UsageError: the budget is smaller than the largest file.
    """

    def __init__(
        self, sizes: Sequence[int], budget_mib: int | None, open_shard: Callable[[int], NativeSearcher]
    ) -> None:
        self._sizes, self._open_shard = sizes, open_shard
        self._budget = None if budget_mib is None else budget_mib * _MIB
        self._opened: OrderedDict[int, NativeSearcher] = OrderedDict()
        largest = max(sizes, default=0)
        if self._budget is not None and largest > self._budget:
            raise UsageError(
                f"memory_budget_mib: found {budget_mib}; the largest shard file holds {largest} bytes: at least "
                f"{-(-largest // _MIB)} MiB are needed, or shards of fewer items (index.shard_items)"
            )

    @property
    def numbers(self) -> list[int]:
        """The open shards, least recently used first."""
        return list(self._opened)

    def get(self, number: int) -> NativeSearcher:
        """The shard, opened where it is not; others are closed first, to make room."""
        if number in self._opened:
            self._opened.move_to_end(number)
            return self._opened[number]
        self._make_room(self._sizes[number])
        self._opened[number] = self._open_shard(number)
        return self._opened[number]

    def _make_room(self, size: int) -> None:
        if self._budget is None:
            return
        held, closed = sum(self._sizes[n] for n in self._opened), False
        while self._opened and held + size > self._budget:
            number, _ = self._opened.popitem(last=False)
            held, closed = held - self._sizes[number], True
        if closed:
            give_memory_back()


class RoutedSearcher(Searcher):
    """Opened shards of one version, with the interface of `NativeSearcher`. Not for several threads at once.

    Args:
        index: its shards.
        limits: shards to probe for each query, and the memory budget.
        check: called with a shard's file entry each time before the file is opened; raises where it is damaged. Sizes
            and headers are compared in any case.

    Raises:
        DamagedArtefact: the centroids do not fit the shards, or a shard's file is missing or of another size.
        UsageError: the budget is smaller than the largest shard.
    """

    def __init__(
        self, index: RoutedIndex, limits: SearchSettings, check: Callable[[FileEntry], None] | None = None
    ) -> None:
        shape, expected = index.points.shape, (len(index.shards), index.dimension)
        if index.shards and (shape != expected or not np.isfinite(index.points).all()):
            raise DamagedArtefact(
                f"centroids of shape {shape}; {expected} finite numbers are expected, one row a shard"
            )
        for shard in index.shards:
            check_size(shard)
        super().__init__(space_of(index.space), index.dimension)
        self._index, self._check, self._probe = index, check, limits.probe
        sizes = [shard.entry.size_bytes for shard in index.shards]
        self._opened = OpenShards(sizes, limits.memory_budget_mib, self._open)

    @property
    def open_shards(self) -> list[int]:
        """Numbers of the shards that are open now, least recently used first."""
        return self._opened.numbers

    def search_native(
        self, vectors: Array, k: int, ef_search: int, without: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Searcher`; `ef_search` holds in each shard, and ties go to the lower row.

        Raises:
            DamagedArtefact: a shard that is needed is missing or differs from its manifest.
        """
        if k < 1 or ef_search < 1:
            raise UsageError(f"k {k} and ef_search {ef_search} were given; at least 1 is expected")
        rows = np.full((len(vectors), k), -1, np.int32)
        distances = np.full((len(vectors), k), np.inf, np.float32)
        block = max(1, min(BLOCK, _BLOCK_ANSWERS // k))
        for start in range(0, len(vectors) if self._index.shards else 0, block):
            part = slice(start, start + block)
            own = None if without is None else without[part]
            self._search_block(vectors[part], rows[part], distances[part], ef_search, own)
        return rows, distances

    def _search_block(
        self, queries: Array, rows: Array, distances: Array, ef_search: int, without: Array | None
    ) -> None:
        """Fills `rows` and `distances`, [b, k] each, shard by shard."""
        cells = route(queries, self._index.points, self._probe, self._space.is_inner_product)
        for number, asked in self._in_order(group_by_shard(cells)):
            own = None if without is None else without[asked]
            found, native = self._search_shard(number, queries[asked], rows.shape[1], ef_search, own)
            rows[asked], distances[asked] = keep_nearest(rows[asked], distances[asked], found, native)

    def _in_order(self, groups: dict[int, Array]) -> Iterator[tuple[int, Array]]:
        """Shards that are open already come first: in the order of their numbers, block after block, none would be."""
        opened = [number for number in self._opened.numbers if number in groups]
        yield from ((number, groups[number]) for number in opened)
        yield from ((number, asked) for number, asked in groups.items() if number not in opened)

    def _search_shard(
        self, number: int, queries: Array, k: int, ef_search: int, without: Array | None
    ) -> tuple[Array, Array]:
        """Rows of the version and native distances, [q, k] each."""
        shard = self._index.shards[number]
        if without is not None:
            here = (without >= shard.first_row) & (without < shard.first_row + shard.items)
            without = np.where(here, without - shard.first_row, -1).astype(np.int32)
        local, native = self._opened.get(number).search_native(queries, k, ef_search, without)
        if local.max(initial=-1) >= shard.items:
            raise DamagedArtefact(f"{shard.path} answers with row {local.max()}, but it holds {shard.items}")
        return np.where(local >= 0, local + np.int32(shard.first_row), np.int32(-1)), native

    def _open(self, number: int) -> NativeSearcher:
        shard = self._index.shards[number]
        check_size(shard)
        if self._check is not None:
            self._check(shard.entry)
        return NativeSearcher(shard.path, self._index.space, shard.items, self._index.dimension)


def check_size(shard: RoutedShard) -> None:
    """Raises DamagedArtefact where the shard's file is missing or of another size than its entry says."""
    if not shard.path.is_file():
        raise DamagedArtefact(f"{shard.path} is missing from its version; fetch it again, or publish a new version")
    size = shard.path.stat().st_size
    if size != shard.entry.size_bytes:
        raise DamagedArtefact(f"{shard.path} holds {size} bytes, its manifest says {shard.entry.size_bytes}")


def points_of(centroids: Array, longest: Array | None) -> Array:
    """[shards, d] float32 by which queries are routed.

    Args:
        centroids: [shards, d] float32, the mean of each shard's places (`Space.places`).
        longest: [shards] float32, in `inner_product` the length of each shard's longest vector, else null.
    """
    return centroids if longest is None else np.ascontiguousarray(centroids * longest[:, None], np.float32)


def route(queries: Array, points: Array, probe: int, inner_product: bool) -> Array:
    """[q, min(probe, shards)] int32 numbers of the shards to search, best first, ties to the lower number.

    By Euclidean distance to the shard's point; in `inner_product` by the product with it (the README of this room says
    what else was measured).

    Args:
        queries: [q, d] float32, prepared.
        points: [shards, d] float32.
        probe: shards for each query, at least 1.
        inner_product: whether the largest product is nearest.
    """
    if inner_product:
        queries, points = _as_euclidean(queries, points)
    return nearest_cells(queries, points, probe)


def _as_euclidean(queries: Array, points: Array) -> tuple[Array, Array]:
    """[q, d + 1] and [s, d + 1] in which the nearest point is the one of the largest product.

    Bachrach et al. 2014 ("Speeding up the Xbox recommender system"): a further coordinate gives all points the same
    length. Lengths are 1 here, so that no square leaves float32's range.
    """
    wide, base = queries.astype(np.float64), points.astype(np.float64)
    base = base / (np.sqrt(np.square(base).sum(axis=1)).max() or 1.0)
    rest = np.sqrt(np.maximum(0.0, 1.0 - np.square(base).sum(axis=1, keepdims=True)))
    lengths = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    wide = wide / np.where(lengths > 0, lengths, 1.0)
    flat = np.concatenate([wide, np.zeros((len(wide), 1))], axis=1)
    return flat.astype(np.float32), np.concatenate([base, rest], axis=1).astype(np.float32)


def group_by_shard(cells: Array) -> dict[int, Array]:
    """[q, p] shard numbers -> for each shard, by number, the places of its queries, ascending."""
    if not cells.size:
        return {}
    order = np.argsort(cells.ravel(), kind="stable")
    numbers, starts = np.unique(cells.ravel()[order], return_index=True)
    places: Iterable[Array] = np.split(order // cells.shape[1], starts[1:])
    return {int(number): asked for number, asked in zip(numbers, places, strict=True)}


def keep_nearest(rows: Array, distances: Array, more_rows: Array, more_distances: Array) -> tuple[Array, Array]:
    """The k best of [q, k] answers and [q, c] further ones, nearest first, ties to the lower row."""
    k = rows.shape[1]
    rows = np.concatenate([rows, more_rows], axis=1)
    distances = np.concatenate([distances, more_distances], axis=1)
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)
