"""Compiled inner loops of linking: distances, the diversity rule, lists of links.

No fastmath and no threads, so that the bits do not depend on the machine (see `lanes`). All let go of Python's lock.
"""

from typing import Any

import numba
import numpy as np

from sim_transforms.hnsw.lanes import product, squared_distance

Array = np.ndarray[Any, Any]

# Up to this many entries an insertion sort is faster than one by merging.
INSERTION_MOST = 128


@numba.njit(cache=True, nogil=True)
def distance(a: Array, b: Array, inner_product: bool) -> np.float32:
    """Squared Euclidean distance, or minus the inner product, of two [d] float32 vectors."""
    if inner_product:
        return -product(a, b)
    return squared_distance(a, b)


@numba.njit(cache=True, nogil=True)
def sort_pairs(distances: Array, rows: Array, count: int) -> None:
    """Sorts the first `count` entries of both by (distance, row), in place."""
    if count > INSERTION_MOST:
        order = np.argsort(rows[:count], kind="mergesort")
        order = order[np.argsort(distances[:count][order], kind="mergesort")]
        distances[:count], rows[:count] = distances[:count][order], rows[:count][order]
        return
    for i in range(1, count):
        value, row, place = distances[i], rows[i], i
        while place > 0 and (distances[place - 1] > value or (distances[place - 1] == value and rows[place - 1] > row)):
            distances[place], rows[place] = distances[place - 1], rows[place - 1]
            place -= 1
        distances[place], rows[place] = value, row


@numba.njit(cache=True, nogil=True)
def cut_sorted(rows: Array, distances: Array, count: int, vectors: Array, limit: int, inner_product: bool) -> int:
    """HNSW's diversity rule (Malkov & Yashunin 2018, algorithm 4) on sorted candidates, in place.

    Walks the candidates from the nearest and keeps one only if no kept one is nearer to it than it is to the owner.

    Args:
        rows: [c] int32 rows of `vectors`; the kept ones stand first afterwards.
        distances: [c] float32 to the owner, ascending.
        count: number of candidates.
        vectors: [n, d] float32.
        limit: most candidates to keep.
        inner_product: whether distances are minus inner products.

    Returns:
        How many were kept.
    """
    kept = 0
    for place in range(count):
        row, far = rows[place], distances[place]
        keep = True
        for other in range(kept):
            near = distance(vectors[row], vectors[rows[other]], inner_product)
            # Of several that hold the same vector one is enough, also for an owner that holds it too.
            if rows[other] == row or near < far or (near == 0 and not inner_product):
                keep = False
                break
        if keep:
            rows[kept], distances[kept] = row, far
            kept += 1
            if kept == limit:
                break
    return kept


@numba.njit(cache=True, nogil=True)
def cut_candidates(
    owners: Array, candidates: Array, vectors: Array, limit: int, inner_product: bool
) -> tuple[Array, Array]:
    """Cuts the candidates of each owner by the diversity rule.

    Args:
        owners: [q, d] float32.
        candidates: [q, c] int32 rows of `vectors`, -1 for none, in any order.
        vectors: [n, d] float32.
        limit: most to keep of each.
        inner_product: whether distances are minus inner products.

    Returns:
        (rows [q, limit] int32, nearest first, padded with -1; distances [q, limit] float32, infinite there).
    """
    rows = np.full((candidates.shape[0], limit), np.int32(-1), np.int32)
    kept = np.full((candidates.shape[0], limit), np.float32(np.inf), np.float32)
    some, gaps = np.empty(candidates.shape[1], np.int32), np.empty(candidates.shape[1], np.float32)
    for i in range(candidates.shape[0]):
        count = 0
        for j in range(candidates.shape[1]):
            row = candidates[i, j]
            if row >= 0:
                some[count], gaps[count] = row, distance(owners[i], vectors[row], inner_product)
                count += 1
        sort_pairs(gaps, some, count)
        count = cut_sorted(some, gaps, count, vectors, limit, inner_product)
        rows[i, :count], kept[i, :count] = some[:count], gaps[:count]
    return rows, kept


@numba.njit(cache=True, nogil=True)
def link_distances(links: Array, owners: Array, vectors: Array, inner_product: bool) -> Array:
    """Distances of links, infinite where there is none.

    Args:
        links: [q, w] int32 rows of `vectors`, -1 for none.
        owners: [q or more, d] float32, whose links they are.
        vectors: [n, d] float32.
        inner_product: whether distances are minus inner products.
    """
    out = np.full(links.shape, np.float32(np.inf), np.float32)
    for i in range(links.shape[0]):
        for j in range(links.shape[1]):
            if links[i, j] >= 0:
                out[i, j] = distance(owners[i], vectors[links[i, j]], inner_product)
    return out


@numba.njit(cache=True, nogil=True)
def add_incoming(
    links: Array, kept: Array, receivers: Array, senders: Array, incoming: Array, vectors: Array, inner_product: bool
) -> None:
    """Adds senders to the links of receivers in place: all where there is room, else cut by the diversity rule.

    Args:
        links: [n, w] int32 rows of `vectors`, padded with -1.
        kept: [n, w] float32 their distances, infinite where there is no link.
        receivers: [e] int32 rows below n, sorted.
        senders: [e] int32 rows of `vectors`.
        incoming: [e] float32 distances between the two.
        vectors: [n + q, d] float32.
        inner_product: whether distances are minus inner products.
    """
    width, start = links.shape[1], 0
    while start < len(receivers):
        row, stop = receivers[start], start
        while stop < len(receivers) and receivers[stop] == row:
            stop += 1
        rows, gaps = np.empty(width + stop - start, np.int32), np.empty(width + stop - start, np.float32)
        count = 0
        for j in range(width):
            if links[row, j] >= 0:
                rows[count], gaps[count] = links[row, j], kept[row, j]
                count += 1
        own = count
        for place in range(start, stop):
            if not _stands_in(links[row, :own], senders[place]):
                rows[count], gaps[count] = senders[place], incoming[place]
                count += 1
        sort_pairs(gaps, rows, count)
        if count > width:
            count = cut_sorted(rows, gaps, count, vectors, width, inner_product)
        links[row], kept[row] = np.int32(-1), np.float32(np.inf)
        links[row, :count], kept[row, :count] = rows[:count], gaps[:count]
        start = stop


@numba.njit(cache=True, nogil=True)
def _stands_in(rows: Array, row: int) -> bool:
    for other in rows:  # noqa: SIM110 - a generator does not compile
        if other == row:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def merge_nearest(links: Array, kept: Array, rows: Array, candidates: Array, distances: Array, first: int) -> Array:
    """Own and cross links -> the nearest of both, each row once.

    Args:
        links: [n, w] int32 global rows padded with -1; kept: [n, w] float32 their distances.
        rows: [f] int32 global rows within [first, first + n), sorted; several entries a row are allowed.
        candidates, distances: [f, c] cross links of those rows.
        first: global row of the first own row.

    Returns:
        [n, w] int32 global rows, nearest first, padded with -1.
    """
    width, start = links.shape[1], 0
    out = np.full(links.shape, np.int32(-1), np.int32)
    for i in range(links.shape[0]):
        stop = start
        while stop < len(rows) and rows[stop] == first + i:
            stop += 1
        near = np.concatenate((links[i], candidates[start:stop].ravel()))
        gaps = np.concatenate((kept[i], distances[start:stop].ravel()))
        sort_pairs(gaps, near, len(near))
        count = 0
        for row in near:
            if row >= 0 and row != first + i and count < width and not _stands_in(out[i, :count], row):
                out[i, count] = row
                count += 1
        start = stop
    return out


@numba.njit(cache=True, nogil=True)
def put_far(links: Array, far: Array) -> None:
    """Puts far links behind the near ones, in place: into free places, and where there are none over the farthest.

    Args:
        links: [n, w] int32 rows, nearest first, padded with -1.
        far: [n, f] int32 rows, padded with -1; f at most w.
    """
    for i in range(links.shape[0]):
        line, count, new = links[i], 0, 0
        while count < len(line) and line[count] >= 0:
            count += 1
        for row in far[i]:
            new += row >= 0 and not _stands_in(line[:count], row)
        kept = min(count, len(line) - new)
        place = kept
        for row in far[i]:
            # One that stood among the last, which have been given up, is put back by this.
            if row >= 0 and place < len(line) and not _stands_in(line[:place], row):
                line[place] = row
                place += 1


@numba.njit(cache=True, nogil=True)
def nearest(vectors: Array, centroids: Array, count: int) -> Array:
    """[n, d], [c, d] -> [n, count] int32: nearest centroids by Euclidean distance, ties to the lower number."""
    out = np.empty((vectors.shape[0], count), np.int32)
    best = np.empty(count, np.float32)
    for i in range(vectors.shape[0]):
        filled = 0
        for c in range(centroids.shape[0]):
            value = squared_distance(vectors[i], centroids[c])
            if filled == count and not value < best[count - 1]:
                continue
            place = filled if filled < count else count - 1
            while place > 0 and best[place - 1] > value:
                best[place], out[i, place] = best[place - 1], out[i, place - 1]
                place -= 1
            best[place], out[i, place] = value, c
            filled = min(filled + 1, count)
    return out


@numba.njit(cache=True, nogil=True)
def sum_cells(vectors: Array, cells: Array, count: int) -> tuple[Array, Array]:
    """[n, d] vectors and their cells [n] -> (sums [count, d] float64 in row order, items of each cell [count])."""
    sums, items = np.zeros((count, vectors.shape[1]), np.float64), np.zeros(count, np.int64)
    for i in range(vectors.shape[0]):
        items[cells[i]] += 1
        for j in range(vectors.shape[1]):
            sums[cells[i], j] += vectors[i, j]
    return sums, items
