"""Adds items to a published file and takes items out of it, shard by shard, without building it again.

1. `patch_shard`: lists that point at rows that are gone are repaired around them; additions are searched in the shards
   they are nearest to, by the products that build a shard, and linked both ways where they are found.
2. `place_additions`: additions take free rows of their shard, then of others, then rows after the last.
3. `patch_finish.finish_shard`: what an addition found in several shards is put together, every row is kept in reach.

A worker holds one shard; of the other rows it maps the file. Between the steps an addition is called by the number
n + i, n being the rows of the file and i its place among the additions, which stand together by home shard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import effort_of
from sim_transforms.hnsw.cell_search import CellSearch
from sim_transforms.hnsw.cells import Cells, arrange_distinct
from sim_transforms.hnsw.file_format import HEADER_BYTES, Header, read_header
from sim_transforms.hnsw.kernels import cut_candidates, link_distances
from sim_transforms.hnsw.link import Forward, foreign_links
from sim_transforms.hnsw.patch_kernels import Addresses, gaps_of, hashes, links_to_gone, receive, repair
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

# Of the cells in which additions are searched; they look into all but the nearest at once.
_CELL_ITEMS, _STRIDE = 768, 64

# (receivers [e] int32 places of a shard, senders [e] int32 numbers, distances [e] float32): additions to all that they
# find, not only to what they link to, as in a build an item chooses among all that is near.
Offers = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Additions:
    """Items that are added, by home shard and within it in the order of their ids.

    Attributes:
        vectors: [a, d] float32, prepared for the space.
        starts: [shards + 1] int64: those of shard s are starts[s] to starts[s + 1].
        levels: [a] int8, highest level of each.
        asking: [e] int32, for each shard the additions of other shards that are searched in it, ascending.
        asking_starts: [shards + 1] int64: those that are searched in shard s.
    """

    vectors: Array
    starts: Array
    levels: Array
    asking: Array
    asking_starts: Array

    def home(self, shard: int) -> Array:
        """[h] int32, the additions whose home is `shard`."""
        return np.arange(self.starts[shard], self.starts[shard + 1], dtype=np.int32)

    def foreign(self, shard: int) -> Array:
        """[f] int32, the additions of other shards that are searched in `shard`, ascending."""
        return np.asarray(self.asking[self.asking_starts[shard] : self.asking_starts[shard + 1]])


@dataclass(frozen=True)
class Published:
    """A published file that is patched, mapped.

    Attributes:
        path: of the file.
        header: its header.
        records: [n] structured.
        gone: [n] bool: free rows, and rows that are deleted now.
        fresh: [a, d] float32 vectors of the additions.
    """

    path: Path
    header: Header
    records: Array
    gone: Array
    fresh: Array

    @property
    def addresses(self) -> Addresses:
        """Where the vectors of rows and additions lie."""
        record, header = self.records.dtype, self.header
        ahead = int(record.fields["vector"][1]) if record.fields else 0
        where = (self.records.ctypes.data + ahead, record.itemsize, self.fresh.ctypes.data)
        return Addresses(*where, header.items, header.dimension, header.is_inner_product)

    def vectors_of(self, numbers: Array) -> Array:
        """[r, d] float32 of rows and additions."""
        out = np.empty((len(numbers), self.header.dimension), np.float32)
        old = numbers < self.header.items
        out[old] = self.records["vector"][numbers[old]]
        out[~old] = self.fresh[numbers[~old] - self.header.items]
        return out

    def links_of(self, rows: Array) -> Array:
        """[r, maxM0] int32 links of rows, padded with -1."""
        links = self.records["links"][rows]
        links[np.arange(links.shape[1]) >= self.records["count"][rows][:, None]] = -1
        return links


def open_published(path: Path, gone: Array, fresh: Array) -> Published:
    """Maps a file.

    Args:
        path: of a file whose checksum is right: its links are followed as they are.
        gone: [n] bool.
        fresh: [a, d] float32 vectors of the additions.
    """
    header = read_header(path)
    record = header.record()
    records = np.zeros(0, record)
    if header.items:
        records = np.asarray(np.memmap(path, record, "r", HEADER_BYTES, (header.items,)))
    return Published(path, header, records, gone, np.ascontiguousarray(fresh, np.float32))


@dataclass(frozen=True)
class ShardPatch:
    """A shard's lists before its additions have rows.

    Attributes:
        number: of the shard.
        live: [r] int32 rows of the file that stay, ascending.
        home: [h] int32 numbers n + i of its additions.
        links: [r + h, 2 m] int32 rows and numbers, of both.
        gaps: [h, 2 m] float32 distances of the additions' links.
        root: row or number of the highest level, -1 in an empty shard.
    """

    number: int
    live: Array
    home: Array
    links: Array
    gaps: Array
    root: int


def patch_shard(
    published: Published, shard: int, rows: Array, levels: Array, additions: Additions, settings: IndexSettings
) -> tuple[ShardPatch, Forward]:
    """Repairs and links one shard.

    Args:
        published: the file.
        shard: its number.
        rows: [s] int32, the shard's rows, ascending.
        levels: [s] int8 of these rows.
        additions: all.
        settings: of the index.

    Returns:
        The patch, and what additions of other shards found here.
    """
    stays = ~published.gone[rows]
    live, items = rows[stays], published.header.items
    home = additions.home(shard) + np.int32(items)
    links = published.links_of(live)
    _repair(published, links, live)
    numbers = np.concatenate([live, home]).astype(np.int32)
    lists = np.concatenate([links, np.full((len(home), links.shape[1]), -1, np.int32)])
    field = _Field(published, numbers, len(live))
    foreign = additions.foreign(shard) + np.int32(items)
    offered = field.link_home(lists, settings)
    kept, gaps, abroad = field.search(foreign, foreign_links(settings), settings)
    receivers, numbers_in, incoming = (np.concatenate(both) for both in zip(offered, abroad, strict=True))
    order = np.argsort(receivers, kind="stable")
    receive(lists, numbers, receivers[order], numbers_in[order], incoming[order], published.addresses)
    field.hang_twins(lists)
    high = np.concatenate([levels[stays], additions.levels[home - items]])
    root = int(numbers[np.argmax(high)]) if len(numbers) else -1
    own = gaps_of(lists[len(live) :], home, published.addresses)
    found = np.where(kept >= 0, numbers[kept] if len(numbers) else kept, -1).astype(np.int32)
    return ShardPatch(shard, live, home, lists, own, root), Forward(foreign, found, gaps)


def _repair(published: Published, links: Array, live: Array) -> None:
    """Repairs the lists of the live rows in place."""
    lost = np.unique(links_to_gone(links, published.gone))
    repair(links, live, published.gone, lost, published.links_of(lost), published.addresses)


class _Field:
    """What is searched in a shard: its live rows and its additions, each vector once.

    Args:
        published: with the vectors.
        numbers: [r + h] int32, live rows, then additions.
        live: r.
    """

    def __init__(self, published: Published, numbers: Array, live: int) -> None:
        self._published, self._numbers, self._live = published, numbers, live
        copied = published.vectors_of(numbers)
        self._distinct, self._first = _firsts_of(copied)
        self._space = space_of("inner_product" if published.header.is_inner_product else "l2")
        order, centroids, starts = arrange_distinct(copied[self._distinct], self._space, _CELL_ITEMS)
        self._places = self._distinct[order].astype(np.int32)
        self._base = copied[self._places]
        self._search = CellSearch(self._base, Cells(centroids, starts, np.zeros(0, np.int32)), self._space)

    def search(self, asking: Array, limit: int, settings: IndexSettings) -> tuple[Array, Array, Offers]:
        """(places [q, limit] int32, distances, offers) of additions of other shards, cut among themselves.

        Of additions that repeat a vector the first is searched and offered, and all get what it finds.
        """
        effort = effort_of(settings)
        firsts, source = _firsts_of(self._published.vectors_of(asking))
        reach = (effort.foreign_candidates, _eased(effort.foreign_probes))
        kept, gaps, offers = self._cut(asking[firsts], None, reach, limit)
        place = np.searchsorted(firsts, source)
        return kept[place], gaps[place], offers

    def _cut(
        self, asking: Array, own: Array | None, effort: tuple[int, int], limit: int
    ) -> tuple[Array, Array, Offers]:
        queries, inner_product = self._published.vectors_of(asking), self._space.is_inner_product
        if not len(self._base) or not len(asking):
            none = np.zeros(0, np.int32)
            nowhere = np.full((len(asking), limit), -1, np.int32)
            return nowhere, np.full(nowhere.shape, np.inf, np.float32), (none, none, np.zeros(0, np.float32))
        found = self._search.search(queries, *effort, own, _STRIDE)
        kept, gaps = cut_candidates(queries, found, self._base, limit, inner_product)
        senders, columns = np.nonzero(found >= 0)
        incoming = link_distances(found, queries, self._base, inner_product)[senders, columns]
        offers = (self._places[found[senders, columns]], asking[senders], incoming)
        return np.where(kept >= 0, self._places[kept], -1).astype(np.int32), gaps, offers

    def link_home(self, lists: Array, settings: IndexSettings) -> Offers:
        """Fills the lists of the additions that repeat no vector; gives what they offer to others."""
        mine = np.flatnonzero(self._first == np.arange(len(self._first)))
        mine = mine[mine >= self._live].astype(np.int32)
        effort = effort_of(settings)
        place = np.empty(len(self._numbers), np.int32)
        place[self._places] = np.arange(len(self._places), dtype=np.int32)
        # More than in a build, where items of the shard choose each other: no item of old chooses an addition.
        reach = (3 * effort.candidates // 2, _eased(effort.probes))
        kept, _, offers = self._cut(self._numbers[mine], place[mine], reach, 3 * settings.m // 2)
        lists[mine, : kept.shape[1]] = np.where(kept >= 0, self._numbers[kept], -1)
        return offers

    def hang_twins(self, lists: Array) -> None:
        """Additions that repeat a vector hang in a binary tree of all that hold it and repeat its links, in place."""
        twins = np.flatnonzero(self._first != np.arange(len(self._first)))
        groups: dict[int, list[int]] = {int(self._first[twin]): [] for twin in twins[twins >= self._live]}
        for twin in twins.tolist():
            if int(self._first[twin]) in groups:
                groups[int(self._first[twin])].append(twin)
        for first, members in groups.items():
            tree, shared = [first, *members], lists[first].copy()
            for place, member in enumerate(tree):
                children = tree[2 * place + 1 : 2 * place + 3]
                if member >= self._live and place:
                    near, links = [tree[(place - 1) // 2], *children], shared
                else:
                    near, links = [child for child in children if child >= self._live], lists[member].copy()
                if near:
                    _put_first(lists[member], self._numbers[near], self._real_first(links, tree), self._numbers[member])

    def _real_first(self, links: Array, tree: list[int]) -> Array:
        """Links without those to twins, then these: what there is no room for are twins, not what leads elsewhere."""
        is_twin = np.isin(links, self._numbers[tree])
        return np.concatenate([links[~is_twin], links[is_twin]])


def _firsts_of(vectors: Array) -> tuple[Array, Array]:
    """(rows [u] that hold a vector first, ascending; [n] int32, for each row the first that holds its vector)."""
    # Adding 0 makes -0 and 0 the same bytes.
    marks = hashes((vectors + np.float32(0)).view("<i4"))
    _, firsts, inverse = np.unique(marks, return_index=True, return_inverse=True)
    return np.sort(firsts), firsts[inverse].astype(np.int32)


def _eased(probes: int) -> int:
    """Fewer and larger cells than in a build: few additions share one, so that each visit costs more."""
    return max(2, probes // 3)


def _put_first(line: Array, near: Array, shared: Array, own: int) -> None:
    """Fills a list with `near`, then with what of `shared` is neither that nor its owner."""
    rest = shared[(shared >= 0) & (shared != own) & ~np.isin(shared, near)]
    joined = np.concatenate([near, rest])[: len(line)]
    line[:] = -1
    line[: len(joined)] = joined


def place_additions(free: Sequence[Array], starts: Array, items: int) -> tuple[Array, list[tuple[int, int, int]]]:
    """Rows of the additions.

    Args:
        free: for each shard its free rows, ascending.
        starts: [shards + 1] of `Additions`.
        items: rows of the file.

    Returns:
        (final [a] int32; (shard, first_row, end_row) of the rows that are appended, in row order).
    """
    final = np.full(int(starts[-1]), -1, np.int32)
    spare: list[Array] = []
    for shard, rows in enumerate(free):
        count = min(len(rows), int(starts[shard + 1] - starts[shard]))
        final[starts[shard] : starts[shard] + count] = rows[:count]
        spare.append(rows[count:])
    left = np.flatnonzero(final < 0)
    others = np.concatenate([np.zeros(0, np.int32), *spare])[: len(left)]
    final[left[: len(others)]] = others
    appended = []
    for shard in range(len(free)):
        mine = np.arange(starts[shard], starts[shard + 1])
        mine = mine[final[mine] < 0]
        if len(mine):
            final[mine] = np.arange(items, items + len(mine), dtype=np.int32)
            appended.append((shard, items, items + len(mine)))
            items += len(mine)
    return final, appended
