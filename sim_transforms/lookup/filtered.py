"""The nearest of the items that meet a condition: the index where many do, all of them compared where few do.

The index is asked for more neighbours than are wanted, and those that do not meet the condition are dropped. The more
are dropped the more have to be asked for, up to where comparing a query with all items that meet the condition costs
less; that is exact.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from sim_transforms.hnsw.routed import keep_nearest
from sim_transforms.hnsw.spaces import Space

Array = np.ndarray[Any, Any]
Search: TypeAlias = Callable[[Array, int], tuple[Array, Array]]
VectorsAt: TypeAlias = Callable[[Array], Array]

# Comparing a query with so many items takes as long as getting one more neighbour out of the index.
_COMPARED = 100
# Asked for beyond what is enough where what meets the condition lies evenly, at least, and times as many next time.
_SURPLUS, _LEAST, _FURTHER = 1.5, 10, 4
_BLOCK = 16_384
# Candidates beyond k of a block, whose distances are taken again in float64: products in float32 may be off by 1e-6.
_CLOSE = 16


def search_allowed(
    queries: Array, k: int, allowed: Array, items: int, search: Search, exact: Callable[[Array], tuple[Array, Array]]
) -> tuple[Array, Array]:
    """The k nearest of the allowed rows of each query.

    Args:
        queries: [q, d] float32.
        k: wanted.
        allowed: [a] int32 rows, ascending.
        items: that the index holds.
        search: (queries, k) -> rows and distances of the whole index, -1 and infinity where there are no more.
        exact: queries -> the same of the allowed rows, by comparing with all of them.

    Returns:
        rows [q, k] int32 and distances [q, k] float32, nearest first; -1 and infinity where no more are allowed.
    """
    width = _first_width(k, len(allowed), items)
    if not len(allowed) or _is_cheap(len(allowed), width):
        return exact(queries)
    rows = np.full((len(queries), k), -1, np.int32)
    distances = np.full((len(queries), k), np.inf, np.float32)
    left = np.arange(len(queries))
    is_allowed = np.zeros(int(allowed[-1]) + 2, np.bool_)
    is_allowed[allowed] = True
    while len(left) and not _is_cheap(len(allowed), width):
        found, near = search(queries[left], width)
        # What lies beyond the last allowed row is looked up at a place that says no, as is -1.
        kept = is_allowed[np.minimum(found, len(is_allowed) - 1)]
        enough = kept.sum(axis=1) >= min(k, len(allowed))
        for place in np.flatnonzero(enough):
            best = np.flatnonzero(kept[place])[:k]
            rows[left[place], : len(best)], distances[left[place], : len(best)] = found[place, best], near[place, best]
        left, width = left[~enough], width * _FURTHER
    if len(left):
        rows[left], distances[left] = exact(queries[left])
    return rows, distances


def _first_width(k: int, allowed: int, items: int) -> int:
    return max(_LEAST, math.ceil(_SURPLUS * k * items / max(allowed, 1)))


def _is_cheap(allowed: int, width: int) -> bool:
    """Whether comparing with all allowed items costs less than asking the index for so many."""
    return allowed <= _COMPARED * width


def compare_all(queries: Array, k: int, rows: Array, vectors_at: VectorsAt, space: Space) -> tuple[Array, Array]:
    """The k nearest of some rows, by comparing with all of them.

    Args:
        queries: [q, d] float32, prepared for the space.
        k: wanted.
        rows: [n] int32, ascending.
        vectors_at: [m] rows -> [m, d] float32, as the index holds them.
        space: of the index.

    Returns:
        rows [q, k] and native distances [q, k], sorted by (distance, row); -1 and infinity where there are fewer.
    """
    best = np.full((len(queries), k), -1, np.int32)
    distances = np.full((len(queries), k), np.inf, np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        vectors = vectors_at(part)
        rough = space.native_distances(queries, vectors)
        count = min(k + _CLOSE, len(part))
        close = np.argpartition(rough, count - 1, axis=1)[:, :count]
        near = _distances(queries, vectors[close], space)
        best, distances = keep_nearest(best, distances, part[close], near)
    return best, distances


def _distances(queries: Array, vectors: Array, space: Space) -> Array:
    """[q, d] and [q, n, d] -> [q, n] float32 native distances, rounded once."""
    wide = queries[:, None].astype(np.float64)
    if space.is_inner_product:
        return np.asarray(-(vectors * wide).sum(axis=2), np.float32)
    return np.asarray(np.square(vectors - wide).sum(axis=2), np.float32)
