"""Small k-means cells inside a shard: the order of its rows, and where `cell_search` looks.

Rows of a cell stand together, so that what is searched together lies together in memory, in the index file as well.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.hnsw.kernels import nearest
from sim_transforms.hnsw.partition import means_of
from sim_transforms.hnsw.spaces import Space

Array = np.ndarray[Any, Any]

# Measured on GloVe (README of this room): smaller cells make products too small to be fast.
CELL_ITEMS = 512
_SAMPLE, _ITERATIONS = 32, 6


@dataclass(frozen=True)
class Cells:
    """Cells of n rows: first the u rows that differ from each other, cell by cell, then those that repeat one of them.

    Attributes:
        centroids: [c, d] float32.
        starts: [c + 1] int64; rows of cell i are starts[i] to starts[i + 1]; the last one is u.
        twins: [n - u] int32, for each further row the row below u that holds the same vector.
    """

    centroids: Array
    starts: Array
    twins: Array

    @property
    def distinct(self) -> int:
        """u, the number of different vectors."""
        return int(self.starts[-1])


def arrange(vectors: Array, space: Space) -> tuple[Array, Cells]:
    """Cuts [n, d] prepared vectors into cells of about CELL_ITEMS.

    In `inner_product` there is one cell: the largest products are with long vectors, wherever they lie.

    Returns:
        (order [n] int64, the cells of `vectors[order]`).
    """
    first, repeated = _repeats(vectors)
    order, centroids, starts = arrange_distinct(vectors[first], space)
    place = np.empty(len(first), np.int32)
    place[order] = np.arange(len(first), dtype=np.int32)
    twins = place[np.searchsorted(first, repeated[:, 1])].astype(np.int32)
    return np.concatenate([first[order], repeated[:, 0]]), Cells(centroids, starts, twins)


def arrange_distinct(vectors: Array, space: Space, cell_items: int = CELL_ITEMS) -> tuple[Array, Array, Array]:
    """(order [n], centroids [c, d], starts [c + 1]) of the cells of n vectors that differ from each other."""
    wanted = 1 if space.is_inner_product else max(1, math.ceil(len(vectors) / cell_items))
    if wanted == 1:
        centroids, cells = vectors[:1], np.zeros(len(vectors), np.int32)
    else:
        centroids = _centroids(vectors, wanted)
        cells = nearest(vectors, centroids, 1)[:, 0]
    order = np.argsort(cells, kind="stable")
    return order, centroids, np.searchsorted(cells[order], np.arange(wanted + 1))


def _repeats(vectors: Array) -> tuple[Array, Array]:
    """(rows [u] whose vector stands first there, [r, 2] of a later row and the first one of the same vector)."""
    if not len(vectors):
        return np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    # Adding 0 makes -0 and 0 the same bytes.
    lines = np.ascontiguousarray(vectors + np.float32(0)).view(f"V{4 * vectors.shape[1]}")[:, 0]
    _, firsts, inverse = np.unique(lines, return_index=True, return_inverse=True)
    source = firsts[inverse]
    later = np.flatnonzero(source != np.arange(len(vectors)))
    return np.sort(firsts), np.stack([later, source[later]], axis=1)


def _centroids(vectors: Array, wanted: int) -> Array:
    """A few rounds of k-means on some rows of each cell, evenly spread over all rows."""
    count = min(len(vectors), wanted * _SAMPLE)
    sample = vectors[np.arange(count) * len(vectors) // count]
    centroids = np.ascontiguousarray(sample[np.arange(wanted) * count // wanted])
    for _ in range(_ITERATIONS):
        centroids = means_of(sample, nearest(sample, centroids, 1)[:, 0], centroids)
    return centroids
