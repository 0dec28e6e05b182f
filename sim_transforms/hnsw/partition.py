"""k-means cells, so that a shard holds items that are near to each other and its size is bounded.

Written out in numpy and numba, with sums in a fixed order, because the same items must fall into the same cells
whatever runner, batch size or number of threads.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.hnsw.kernels import nearest, sum_cells
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

ITERATIONS = 15
# Cells are planned at this share of the cap, because they come out uneven; overfull ones are split. With `shards: N`,
# whose cap is 1.25 n / N, that plans N cells.
FILL = 0.8
TINY = 0.1
SAMPLE_PER_CELL, MIN_SAMPLE = 256, 4096


def shard_cap(items: int, settings: IndexSettings) -> int:
    """Most items of a shard: `shard_items`, or 1.25 n / shards where a number of shards is asked for."""
    return settings.shard_items if settings.shards is None else max(1, -(-5 * items // (4 * settings.shards)))


def sample_size(items: int, cap: int) -> int:
    """Items to fit the centroids on: SAMPLE_PER_CELL a cell and at least MIN_SAMPLE, where there are as many."""
    return min(items, max(MIN_SAMPLE, SAMPLE_PER_CELL * math.ceil(items / cap)))


@dataclass(frozen=True)
class Partition:
    """Which group an item belongs to: that of its nearest centroid, or one of several that share a centroid.

    Attributes:
        centroids: [c, d] float32, c at least 1.
        parts: [c] int32, groups of each centroid; an item's hash chooses among them. Above 1 where more items than a
            shard holds are (nearly) the same vector, so that no place tells them apart.
    """

    centroids: Array
    parts: Array

    def groups_of(self, vectors: Array, item_ids: Sequence[str]) -> Array:
        """[n] int64 group numbers, from 0, of [n, d] float32 vectors and their ids."""
        cells = nearest_cells(vectors, self.centroids, 1)[:, 0]
        groups = (np.cumsum(self.parts) - self.parts)[cells].astype(np.int64)
        for row in np.flatnonzero(self.parts[cells] > 1).tolist():
            digest = hashlib.sha256(f"part:{item_ids[row]}".encode()).digest()
            groups[row] += int.from_bytes(digest[:8], "big") % int(self.parts[cells[row]])
        return groups


def fit_partition(sample: Array, items: int, cap: int, seed: int) -> Partition:
    """k-means on a sample; cells that would hold more than `cap` items are split, as far as the sample can tell.

    Args:
        sample: [s, d] float32.
        items: number of items that the sample stands for.
        cap: most items that a shard may hold.
        seed: of the first centroids.
    """
    wanted = 1 if items <= cap else math.ceil(items / (cap * FILL))
    wanted = min(wanted, len(np.unique(sample, axis=0)) if len(sample) else 1)
    if wanted <= 1:
        return _split_overfull(sample, np.zeros(len(sample), np.int32), items, cap, seed)
    centroids = _lloyd(sample, _spread(sample, wanted, seed))
    counts = np.bincount(nearest(sample, centroids, 1)[:, 0], minlength=len(centroids))
    # Cells of less than a tenth of the mean share are joined to the others.
    kept = np.ascontiguousarray(centroids[counts >= max(1.0, TINY * len(sample) / len(centroids))])
    return _split_overfull(sample, nearest(sample, kept, 1)[:, 0], items, cap, seed)


def _split_overfull(sample: Array, cells: Array, items: int, cap: int, seed: int) -> Partition:
    """Halves cells that hold more than `cap` as far as the sample tells; what cannot be halved gets several parts."""
    if not len(sample):
        return Partition(centroid_of(sample)[None], np.ones(1, np.int32))
    limit = cap * len(sample) / items
    pending = [np.flatnonzero(cells == cell) for cell in np.unique(cells)]
    centroids, parts = [], []
    while pending:
        rows = pending.pop(0)
        halves = _halves(sample, rows, seed) if len(rows) > limit else None
        if halves is None:
            centroids.append(centroid_of(sample[rows]))
            parts.append(1 if len(rows) <= limit else math.ceil(len(rows) / (limit * FILL)))
        else:
            pending += halves
    return Partition(np.stack(centroids), np.array(parts, np.int32))


def nearest_cells(vectors: Array, centroids: Array, count: int) -> Array:
    """[n, d], [c, d] float32 -> [n, min(count, c)] int32 cell numbers, nearest first, ties to the lower number."""
    count = min(count, len(centroids))
    return nearest(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(centroids, np.float32), count)


def neighbor_numbers(vectors: Array, own: int, centroids: Array, neighbor_shards: int) -> Array:
    """[n, neighbor_shards] int32: the nearest shards of each item but its own, nearest first, -1 for no more.

    Args:
        vectors: [n, d] float32 of shard `own`.
        own: number of their shard.
        centroids: [shards, d] float32 means of the shards.
        neighbor_shards: how many to name.
    """
    nearest = nearest_cells(vectors, centroids, neighbor_shards + 1)
    order = np.argsort(nearest == own, axis=1, kind="stable")
    others = np.take_along_axis(np.where(nearest == own, -1, nearest), order, axis=1)
    return others[:, :neighbor_shards]


def split_cell(vectors: Array, cap: int, seed: int) -> Array:
    """Part number of each of [n, d] vectors, [n] int32 from 0 without gaps, no part above `cap` items."""
    parts = np.zeros(len(vectors), np.int32)
    pending, done = [np.arange(len(vectors))], 0
    while pending:
        rows = pending.pop(0)
        if len(rows) > cap:
            # (Nearly) identical vectors are cut by position into parts of the cap.
            pieces = [rows[i : i + cap] for i in range(0, len(rows), cap)]
            pending += _halves(vectors, rows, seed) or pieces
        elif len(rows):
            parts[rows] = done
            done += 1
    return parts


def centroid_of(vectors: Array) -> Array:
    """Mean of [n, d] vectors as [d] float32, summed in row order in float64; zeros where n is 0."""
    if not len(vectors):
        return np.zeros(vectors.shape[1], np.float32)
    return (np.add.reduce(vectors.astype(np.float64), axis=0) / len(vectors)).astype(np.float32)


def _halves(vectors: Array, rows: Array, seed: int) -> list[Array] | None:
    """Two parts of [r] rows, each with a tenth of them at least, or null where no split by place gives such parts."""
    subset = vectors[rows]
    first = _spread(subset, 2, seed)
    cells = nearest(subset, _lloyd(subset, first), 1)[:, 0] if len(first) == 2 else np.zeros(len(rows), np.int32)
    if not 0.1 <= (cells == 1).mean() <= 0.9:
        return None
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
        centroids = means_of(sample, cells, centroids)
    return centroids


def means_of(sample: Array, cells: Array, centroids: Array) -> Array:
    """[c, d] float32: mean of the [s, d] vectors of each cell [s], summed in row order; an empty cell stays put."""
    sums, counts = sum_cells(sample, cells, len(centroids))
    means = sums / np.maximum(counts, 1)[:, None]
    return np.ascontiguousarray(np.where(counts[:, None] > 0, means, centroids), dtype=np.float32)
