"""k-means cells, so that a shard holds items that are near to each other and its size is bounded.

Written out in numpy and numba, with sums in a fixed order, because the same items must fall into the same cells
whatever runner, batch size or number of threads.
"""

import math
from typing import Any

import numpy as np

from sim_transforms.hnsw.kernels import nearest

Array = np.ndarray[Any, Any]

ITERATIONS = 15
# Cells are planned at this share of the cap, because k-means cells are uneven: fewer of them then have to be split.
FILL = 0.6
TINY = 0.1


def fit_centroids(sample: Array, items: int, cap: int, seed: int) -> Array:
    """k-means on a sample.

    Args:
        sample: [s, d] float32.
        items: number of items that the sample stands for.
        cap: most items that a shard may hold.
        seed: of the first centroids.

    Returns:
        [c, d] float32 with 1 <= c; cells of less than a tenth of the mean share are joined to the others.
    """
    wanted = 1 if items <= cap else math.ceil(items / (cap * FILL))
    wanted = min(wanted, len(np.unique(sample, axis=0)) if len(sample) else 1)
    if wanted <= 1:
        return centroid_of(sample)[None]
    centroids = _lloyd(sample, _spread(sample, wanted, seed))
    counts = np.bincount(nearest(sample, centroids, 1)[:, 0], minlength=len(centroids))
    return np.ascontiguousarray(centroids[counts >= max(1.0, TINY * len(sample) / len(centroids))])


def nearest_cells(vectors: Array, centroids: Array, count: int) -> Array:
    """[n, d], [c, d] float32 -> [n, min(count, c)] int32 cell numbers, nearest first, ties to the lower number."""
    count = min(count, len(centroids))
    return nearest(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(centroids, np.float32), count)


def split_cell(vectors: Array, cap: int, seed: int) -> Array:
    """Part number of each of [n, d] vectors, [n] int32 from 0 without gaps, no part above `cap` items."""
    parts = np.zeros(len(vectors), np.int32)
    pending, done = [np.arange(len(vectors))], 0
    while pending:
        rows = pending.pop(0)
        if len(rows) > cap:
            pending += _halves(vectors, rows, cap, seed)
        elif len(rows):
            parts[rows] = done
            done += 1
    return parts


def centroid_of(vectors: Array) -> Array:
    """Mean of [n, d] vectors as [d] float32, summed in row order in float64; zeros where n is 0."""
    if not len(vectors):
        return np.zeros(vectors.shape[1], np.float32)
    return (np.add.reduce(vectors.astype(np.float64), axis=0) / len(vectors)).astype(np.float32)


def _halves(vectors: Array, rows: Array, cap: int, seed: int) -> list[Array]:
    subset = vectors[rows]
    first = _spread(subset, 2, seed)
    cells = nearest(subset, _lloyd(subset, first), 1)[:, 0] if len(first) == 2 else np.zeros(len(rows), np.int32)
    share = (cells == 1).mean()
    if not 0.1 <= share <= 0.9:
        # (Nearly) identical vectors: no split by place makes progress, so cut by position into parts of the cap.
        return [rows[i : i + cap] for i in range(0, len(rows), cap)]
    return [rows[cells == 0], rows[cells == 1]]


def _spread(sample: Array, count: int, seed: int) -> Array:
    """k-means++ (Arthur & Vassilvitskii 2007): first centroids far from each other; fewer where points coincide."""
    generator = np.random.default_rng(seed)
    chosen = [int(generator.integers(len(sample)))]
    gaps = _squares(sample, sample[chosen[0]])
    while len(chosen) < count and gaps.max() > 0:
        steps = np.cumsum(gaps)
        row = int(np.searchsorted(steps, generator.random() * steps[-1], side="right"))
        chosen.append(min(row, len(sample) - 1))
        gaps = np.minimum(gaps, _squares(sample, sample[chosen[-1]]))
    return np.ascontiguousarray(sample[chosen])


def _squares(sample: Array, point: Array) -> Array:
    difference = sample.astype(np.float64) - point
    return np.einsum("nd,nd->n", difference, difference)


def _lloyd(sample: Array, centroids: Array) -> Array:
    cells = np.full(len(sample), -1)
    for _ in range(ITERATIONS):
        now = nearest(sample, centroids, 1)[:, 0]
        if (now == cells).all():
            break
        cells = now
        centroids = _means(sample, cells, centroids)
    return centroids


def _means(sample: Array, cells: Array, centroids: Array) -> Array:
    counts = np.bincount(cells, minlength=len(centroids))
    sums = np.zeros(centroids.shape, np.float64)
    np.add.at(sums, cells, sample.astype(np.float64))
    means = sums / np.maximum(counts, 1)[:, None]
    return np.ascontiguousarray(np.where(counts[:, None] > 0, means, centroids), dtype=np.float32)
