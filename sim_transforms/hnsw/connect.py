"""Makes every row of a shard reachable from its root in layer 0.

Lists of nearest neighbours fall apart where items form tight groups: the links of a group's items all stay inside.
Upper layers lead a search into most groups, but nothing promises that they lead into all. Here the rows that a walk
from the root does not reach are linked from near rows that it does reach, in free places or in place of links that the
walk does not need. The roots of shards are tied to each other as a binary tree, in both directions.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from sim_transforms.hnsw.kernels import distance

Array = np.ndarray[Any, Any]

# Rows that are looked at for a free place before one is made.
FREE_STEPS = 1000


def anchors_of(number: int, roots: Array) -> Array:
    """[at most 3] int32: roots of the shards above and below shard `number` in the binary tree of all shards.

    Args:
        number: of the shard.
        roots: [shards] global rows of the shards' roots.
    """
    near = [(number - 1) // 2] if number else []
    near += [child for child in (2 * number + 1, 2 * number + 2) if child < len(roots)]
    return np.asarray(roots, np.int32)[near]


def connect(links: Array, vectors: Array, root: int, anchors: Array, first_row: int, inner_product: bool) -> int:
    """Changes the links of a shard in place so that a walk from `root` along them reaches all its rows.

    Args:
        links: [n, w] int32 global rows, nearest first, padded with -1; w at least 4.
        vectors: [n, d] float32 prepared.
        root: local row at which the walk starts.
        anchors: [a] int32 global rows of other shards that the root must link to; a at most 3.
        first_row: global row of the first row.
        inner_product: whether distances are minus inner products.

    Returns:
        How many links were set.
    """
    if not len(links):
        return 0
    return int(_connect(links, vectors, root, anchors.astype(np.int32), first_row, inner_product))


class _Shard(NamedTuple):
    """What the walk knows: `parent` [n] int32, the row from which each was reached, -1 for not yet."""

    links: Array
    parent: Array
    anchors: Array
    root: int
    first: int


@numba.njit(cache=True, nogil=True)
def _connect(links: Array, vectors: Array, root: int, anchors: Array, first: int, inner_product: bool) -> int:
    items = len(links)
    shard = _Shard(links, np.full(items, -1, np.int32), anchors, root, first)
    shard.parent[root] = root
    for anchor in anchors:
        _anchor(links[root], anchor, anchors)
    queue, seen, added = np.empty(items, np.int32), np.full(items, -1, np.int32), 0
    _walk(shard, root, queue)
    for row in range(items):
        if shard.parent[row] >= 0:
            continue
        giver = _giver_near(shard, row, seen, queue)
        if giver < 0:
            giver = _nearest_giver(shard, vectors, row, inner_product)
        links[giver, _place(shard, giver)] = first + row
        shard.parent[row] = giver
        _walk(shard, row, queue)
        added += 1
    return added


@numba.njit(cache=True, nogil=True)
def _anchor(line: Array, anchor: int, anchors: Array) -> None:
    """Puts an anchor into the root's links, in a free place or in place of the farthest that is none."""
    place = -1
    for j in range(len(line)):
        if line[j] == anchor:
            return
        if line[j] < 0:
            place = j
            break
        if not (anchors == line[j]).any():
            place = j
    line[place] = anchor


@numba.njit(cache=True, nogil=True)
def _walk(shard: _Shard, start: int, queue: Array) -> None:
    """Breadth first from `start`; notes how each row was reached."""
    queue[0], waiting, done = start, 1, 0
    while done < waiting:
        row = queue[done]
        done += 1
        for link in shard.links[row]:
            other = link - shard.first
            if link >= 0 and 0 <= other < len(shard.parent) and shard.parent[other] < 0:
                shard.parent[other] = row
                queue[waiting] = other
                waiting += 1


@numba.njit(cache=True, nogil=True)
def _place(shard: _Shard, giver: int) -> int:
    """Place in the giver's links that is free, or that the walk does not need (the farthest such); -1 for none."""
    line = shard.links[giver]
    for j in range(len(line)):
        if line[j] < 0:
            return j
    for j in range(len(line) - 1, -1, -1):
        other = line[j] - shard.first
        needed = 0 <= other < len(shard.parent) and shard.parent[other] == giver and other != giver
        if not needed and not (giver == shard.root and (shard.anchors == line[j]).any()):
            return j
    return -1


@numba.njit(cache=True, nogil=True)
def _giver_near(shard: _Shard, row: int, seen: Array, queue: Array) -> int:
    """A reached row near to `row`, by steps along links, with a free place, or else with one that can be spared.

    -1 where no step leads to such a row.
    """
    queue[0], seen[row], waiting, done, spare = row, row, 1, 0, -1
    while done < waiting:
        at = queue[done]
        done += 1
        if shard.parent[at] >= 0:
            if shard.links[at, -1] < 0:
                return at
            if spare < 0 and _place(shard, at) >= 0:
                spare = at
            if spare >= 0 and done > FREE_STEPS:
                return spare
        for link in shard.links[at]:
            other = link - shard.first
            if link >= 0 and 0 <= other < len(shard.parent) and seen[other] != row:
                seen[other] = row
                queue[waiting] = other
                waiting += 1
    return spare


@numba.njit(cache=True, nogil=True)
def _nearest_giver(shard: _Shard, vectors: Array, row: int, inner_product: bool) -> int:
    """Nearest reached row that has a place. There is one: n reached rows need n - 1 of their links, and have 4 n."""
    best, least = -1, np.float32(np.inf)
    for other in range(len(shard.parent)):
        if shard.parent[other] < 0:
            continue
        gap = distance(vectors[row], vectors[other], inner_product)
        if (best < 0 or gap < least) and _place(shard, other) >= 0:
            best, least = other, gap
    return best
