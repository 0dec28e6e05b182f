"""Nearest candidates inside a shard by matrix products: exact within the cells that a query looks into.

A query is compared with all vectors of its nearest cells, as blocks of one matrix product each, and the k best are kept
by a running threshold, until some cells on end have brought it nothing. No insertion, no levels, no state of a thread:
the same vectors give the same candidates where the BLAS is the same; it runs on one thread here. Not for serving: it
pays off when thousands of queries share a cell.
"""

import threading
from typing import Any

import numba
import numpy as np
from threadpoolctl import ThreadpoolController

from sim_transforms.hnsw.cells import CELL_ITEMS, Cells
from sim_transforms.hnsw.kernels import nearest
from sim_transforms.hnsw.spaces import Space

Array = np.ndarray[Any, Any]

_QUERIES, _BLOCK = 16384, 512
# Cells on end that bring a query nothing before it stops: fewer lose candidates that graphs of 50 dimensions need.
_PATIENCE = 2
_SPARE = 8


class _OneThread:
    """BLAS on one thread while anybody is inside: two would split a product elsewhere, and round differently."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        # Looks through all loaded libraries, which takes 2 ms: once, not at every entry.
        self._controller: ThreadpoolController | None = None
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._controller = self._controller or ThreadpoolController()
                self._limits = self._controller.limit(limits=1, user_api="blas")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limits.restore_original_limits()


_one_thread = _OneThread()


class CellSearch:
    """The vectors of a shard, ready to be searched.

    Args:
        vectors: [n, d] float32, prepared for the space, in the order of `cells`; only different ones are found.
        cells: of the vectors.
        space: of the index.
    """

    def __init__(self, vectors: Array, cells: Cells, space: Space) -> None:
        vectors = vectors[: cells.distinct]
        # Far from the origin the product of raw vectors would drown their differences.
        self._shift = vectors.mean(axis=0, dtype=np.float64) if space.name == "l2" and len(vectors) else None
        self._vectors = self._moved(vectors)
        self._cells = cells
        self._halves = np.zeros(len(vectors), np.float32)
        if space.name == "l2":
            self._halves = ((self._vectors * self._vectors).sum(axis=1) / 2).astype(np.float32)

    def search(self, queries: Array, k: int, probes: int, own: Array | None = None, stride: int = 1) -> Array:
        """[q, d] float32 queries -> [q, k] int32 rows in no order, padded with -1.

        Args:
            queries: prepared for the space.
            k: candidates of each.
            probes: most cells that a query looks into.
            own: [q] int32 row that a query must not find, where queries are vectors of this shard.
            stride: cells that a query looks into at a time, after its nearest one: more where few queries share a cell.
        """
        found = np.full((len(queries), k), -1, np.int32)
        hidden = np.full(len(queries), -1, np.int32) if own is None else own
        probes = min(probes, len(self._cells.centroids))
        ranks = [range(first, min(first + stride, probes)) for first in range(1, probes, stride)]
        with _one_thread:
            for start in range(0, len(queries), _QUERIES):
                part = slice(start, start + _QUERIES)
                best = _Best(len(queries[part]), k)
                self._search(queries[part], best, [range(min(1, probes)), *ranks], hidden[part])
                found[part] = best.rows_found()
        return found

    def _moved(self, vectors: Array) -> Array:
        return vectors if self._shift is None else (vectors - self._shift).astype(np.float32)

    def _search(self, queries: Array, best: "_Best", ranks: list[range], hidden: Array) -> None:
        near = nearest(queries, self._cells.centroids, ranks[-1].stop)
        moved, cells = self._moved(queries), len(self._cells.centroids)
        # The nearest cells of all queries first: their thresholds are tight when the further cells come.
        idle = np.zeros(len(queries), np.int32)
        for some in ranks:
            asking, before = np.flatnonzero(idle < _PATIENCE), best.added.copy()
            wanted = near[asking, some.start : some.stop].ravel()
            order = np.argsort(wanted, kind="stable")
            bounds = np.searchsorted(wanted[order], np.arange(cells + 1))
            visitors = asking[order // max(len(some), 1)]
            for cell in np.flatnonzero(np.diff(bounds)):
                self._visit(moved, visitors[bounds[cell] : bounds[cell + 1]], int(cell), hidden, best)
            idle = np.where(best.added > before, 0, idle + len(some))

    def _visit(self, queries: Array, asking: Array, cell: int, hidden: Array, best: "_Best") -> None:
        first, end = self._cells.starts[cell : cell + 2]
        for start in range(0, len(asking), _BLOCK):
            some = asking[start : start + _BLOCK]
            asked = queries[some]
            for low in range(first, end, 2 * CELL_ITEMS):
                high = min(low + 2 * CELL_ITEMS, end)
                best.add(asked @ self._vectors[low:high].T, some, self._halves[low:high], low, hidden)


class _Best:
    """The k best of each query so far, in a buffer of twice that, which is cut back when it is full.

    Attributes:
        added: [q] int64, how often a vector was among the best so far.
    """

    def __init__(self, queries: int, k: int) -> None:
        self._k = k
        self._values = np.empty((queries, 2 * k + _SPARE), np.float32)
        self._rows = np.empty((queries, 2 * k + _SPARE), np.int32)
        self._counts, self.added = np.zeros(queries, np.int64), np.zeros(queries, np.int64)
        self._limits = np.full(queries, -np.inf, np.float32)

    def add(self, products: Array, asking: Array, halves: Array, first: int, hidden: Array) -> None:
        """[b, c] products of the queries `asking` [b] with the vectors of rows `first` and on."""
        buffers = (self._values, self._rows, self._counts, self.added, self._limits)
        _keep(products, (asking, halves, hidden), first, self._k, buffers)

    def rows_found(self) -> Array:
        """[q, k] int32, padded with -1."""
        return _finish(self._k, self._values, self._rows, self._counts)


@numba.njit(cache=True, nogil=True)
def _keep(products: Array, inputs: tuple[Array, ...], first: int, k: int, buffers: tuple[Array, ...]) -> None:
    """Adds what lies above a query's limit; a first pass over all only marks, so that it compiles to vector code."""
    asking, halves, hidden = inputs
    values, kept, counts, added, limits = buffers
    width = products.shape[1]
    marks = np.zeros((width + 7) // 8 * 8, np.uint8)
    words = marks.view(np.uint64)
    full = values.shape[1] - _SPARE
    for i in range(products.shape[0]):
        query = asking[i]
        count, limit, line, best = counts[query], limits[query], products[i], added[query]
        for j in range(width):
            marks[j] = line[j] - halves[j] > limit
        for word in range(len(words)):
            if words[word] == 0:
                continue
            for j in range(word * 8, word * 8 + 8):
                if marks[j] and first + j != hidden[query]:
                    value = line[j] - halves[j]
                    values[query, count], kept[query, count] = value, first + j
                    count += np.int64(value > limit)
                    best += np.int64(value > limit)
            if count >= full:
                limit = _cut_back(values[query], kept[query], count, k)
                count = k
        counts[query], limits[query] = count, limit
        added[query] = best


@numba.njit(cache=True, nogil=True)
def _cut_back(values: Array, rows: Array, count: int, k: int) -> np.float32:
    """Puts the k largest first (Hoare's quickselect); gives the smallest of them."""
    low, high = 0, count - 1
    while low < high:
        pivot, i, j = values[(low + high) >> 1], low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                rows[i], rows[j] = rows[j], rows[i]
                i, j = i + 1, j - 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    least = values[0]
    for i in range(1, k):
        least = min(least, values[i])
    return least


@numba.njit(cache=True, nogil=True)
def _finish(k: int, values: Array, rows: Array, counts: Array) -> Array:
    out = np.full((len(counts), k), np.int32(-1), np.int32)
    for i in range(len(counts)):
        count = counts[i]
        if count > k:
            _cut_back(values[i], rows[i], count, k)
            count = k
        out[i, :count] = rows[i, :count]
    return out
