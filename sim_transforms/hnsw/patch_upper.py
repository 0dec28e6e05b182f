"""Upper layers of a patched file: repaired and linked as layer 0 is, by the one worker that holds their items."""

from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np

from sim_transforms.hnsw.build import effort_of
from sim_transforms.hnsw.cell_search import CellSearch
from sim_transforms.hnsw.cells import Cells, arrange_distinct
from sim_transforms.hnsw.connect import connect
from sim_transforms.hnsw.file_format import HEADER_BYTES
from sim_transforms.hnsw.kernels import cut_candidates
from sim_transforms.hnsw.patch import Additions, Published
from sim_transforms.hnsw.patch_kernels import links_to_gone, receive, repair
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import UpperLayers, no_upper_layers
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class OldUpper:
    """Items of level >= 1 of a published file, ascending.

    Attributes:
        rows: [u] int32.
        levels: [u] int32.
        starts: [u] int64, where the words of each start.
        words: [w] int32, everything after the records, mapped.
        width: words of a row's links in one layer.
    """

    rows: Array
    levels: Array
    starts: Array
    words: Array
    width: int

    def links(self, places: Array, level: int) -> Array:
        """[p, m] int32 rows that items of at least `level` link to in it, padded with -1."""
        at = self.starts[places] + (level - 1) * self.width
        block = self.words[at[:, None] + np.arange(self.width)]
        links = block[:, 1:].astype(np.int32)
        links[np.arange(self.width - 1) >= block[:, :1]] = -1
        return links


def read_upper(published: Published) -> OldUpper:
    """Finds the items of level >= 1; holds 16 bytes for each, not for every item."""
    header = published.header
    offset = HEADER_BYTES + header.items * header.record().itemsize
    words = np.zeros(0, np.int32)
    if header.items:
        words = np.asarray(np.memmap(published.path, "<i4", "r", offset))
    width = header.max_m + 1
    count = _count_upper(words, header.items)
    rows, levels, starts = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int64)
    _find_upper(words, header.items, width, (rows, levels, starts))
    return OldUpper(rows, levels, starts, words, width)


@numba.njit(cache=True, nogil=True)
def _count_upper(words: Array, items: int) -> int:
    word, count = 0, 0
    for _ in range(items):
        count += words[word] > 0
        word += 1 + words[word] // 4
    return count


@numba.njit(cache=True, nogil=True)
def _find_upper(words: Array, items: int, width: int, found: tuple[Array, Array, Array]) -> None:
    rows, levels, starts = found
    word, count = 0, 0
    for row in range(items):
        size = words[word] // 4
        if size:
            rows[count], levels[count], starts[count] = row, size // width, word + 1
            count += 1
        word += 1 + size


def patch_upper(
    published: Published, old: OldUpper, additions: Additions, final: Array, lowest: int, settings: IndexSettings
) -> UpperLayers:
    """Upper layers of the live items and the additions.

    The entry point is the first of the highest level in the numbering of the patch, and so the root of its shard, from
    which all rows are in reach.

    Args:
        published: the file.
        old: its upper items.
        additions: all.
        final: [a] int32 rows of the additions.
        lowest: row or number of the first live item, the entry point where no item stands above layer 0.
        settings: of the index.
    """
    items = published.header.items
    kept = np.flatnonzero(~published.gone[old.rows])
    fresh = np.flatnonzero(additions.levels >= 1)
    numbers = np.concatenate([old.rows[kept], fresh + items]).astype(np.int32)
    if not len(numbers):
        row = lowest if lowest < items else int(final[lowest - items])
        return replace(no_upper_layers(), entry_row=row)
    levels = np.concatenate([old.levels[kept], additions.levels[fresh]]).astype(np.int32)
    rows = np.concatenate([old.rows[kept], final[fresh]]).astype(np.int32)
    entry = int(np.argmax(levels))
    layers = []
    for level in range(1, int(levels.max()) + 1):
        members = np.flatnonzero(levels >= level)
        links = _layer(published, old, numbers[members], level, settings)
        local = np.searchsorted(numbers[members], links).clip(max=len(members) - 1)
        local = np.where(links >= 0, local, -1).astype(np.int32)
        vectors = published.vectors_of(numbers[members])
        root = int(np.searchsorted(members, entry))
        connect(local, vectors, root, np.zeros(0, np.int32), 0, published.header.is_inner_product)
        layers.append((members, np.where(local >= 0, rows[members][local], -1)))
    return _packed(rows, levels, layers, settings.m, entry)


def _layer(published: Published, old: OldUpper, numbers: Array, level: int, settings: IndexSettings) -> Array:
    """[u, m] int32 numbers that the members of a level link to."""
    items = published.header.items
    here = int(np.searchsorted(numbers, items))
    places = np.searchsorted(old.rows, numbers[:here])
    links = np.full((len(numbers), settings.m), -1, np.int32)
    links[:here] = old.links(places, level)
    lost = np.unique(links_to_gone(links, published.gone))
    lists = old.links(np.searchsorted(old.rows, lost), level)
    repair(links, numbers, published.gone, lost, lists, published.addresses)
    if here == len(numbers):
        return links
    space = space_of("inner_product" if published.header.is_inner_product else "l2")
    vectors = published.vectors_of(numbers)
    order, centroids, starts = arrange_distinct(vectors, space)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    base, effort = vectors[order], effort_of(settings)
    search = CellSearch(base, Cells(centroids, starts, np.zeros(0, np.int32)), space)
    found = search.search(vectors[here:], effort.candidates, effort.probes, place[here:])
    kept, gaps = cut_candidates(vectors[here:], found, base, settings.m, published.header.is_inner_product)
    links[here:] = np.where(kept >= 0, numbers[order][kept], -1)
    senders, columns = np.nonzero(kept >= 0)
    receivers = order[kept[senders, columns]].astype(np.int32)
    by = np.argsort(receivers, kind="stable")
    sending, incoming = numbers[here:][senders][by], gaps[senders, columns][by]
    receive(links, numbers, receivers[by], sending, incoming, published.addresses)
    return links


def _packed(rows: Array, levels: Array, layers: list[tuple[Array, Array]], m: int, entry: int) -> UpperLayers:
    """The words of all levels, by row."""
    order, width = np.argsort(rows, kind="stable"), m + 1
    ends = np.cumsum(levels[order].astype(np.int64) * width)
    starts = np.empty(len(rows), np.int64)
    starts[order] = np.concatenate([[0], ends[:-1]])
    words = np.zeros(int(ends[-1]), np.int32)
    for level, (members, links) in enumerate(layers):
        block = np.zeros((len(members), width), np.int32)
        block[:, 0] = (links >= 0).sum(axis=1)
        block[:, 1:] = np.maximum(links, 0)
        words[(starts[members] + level * width)[:, None] + np.arange(width)] = block
    highest = int(levels[entry])
    return UpperLayers(highest, int(rows[entry]), rows[order], levels[order], words, starts[order])
