"""Compiled inner loops. No fastmath and no threads: the same bits on every machine with the same instruction set."""

from typing import Any

import numba
import numpy as np

Array = np.ndarray[Any, Any]


@numba.njit(cache=True)
def distance(a: Array, b: Array, inner_product: bool) -> np.float32:
    """Squared Euclidean distance, or minus the inner product, of two [d] float32 vectors."""
    total = np.float32(0)
    if inner_product:
        for i in range(a.shape[0]):
            total -= a[i] * b[i]
    else:
        for i in range(a.shape[0]):
            difference = a[i] - b[i]
            total += difference * difference
    return total


@numba.njit(cache=True)
def nearest(vectors: Array, centroids: Array, count: int) -> Array:
    """[n, d], [c, d] -> [n, count] int32: nearest centroids by Euclidean distance, ties to the lower number."""
    out = np.empty((vectors.shape[0], count), np.int32)
    best = np.empty(count, np.float32)
    for i in range(vectors.shape[0]):
        filled = 0
        for c in range(centroids.shape[0]):
            value = distance(vectors[i], centroids[c], False)
            if filled == count and not value < best[count - 1]:
                continue
            place = filled if filled < count else count - 1
            while place > 0 and best[place - 1] > value:
                best[place] = best[place - 1]
                out[i, place] = out[i, place - 1]
                place -= 1
            best[place] = value
            out[i, place] = c
            filled = min(filled + 1, count)
    return out


@numba.njit(cache=True)
def cut(
    owner: int, candidates: Array, distances: Array, vectors: Array, limit: int, inner_product: bool
) -> tuple[Array, Array]:
    """HNSW's diversity rule (Malkov & Yashunin 2018, algorithm 4).

    Walks the candidates from the nearest and keeps one only if no kept one is nearer to it than it is to the owner.

    Args:
        owner: row that is never kept, or -1.
        candidates: [c] int32 rows of `vectors`, -1 for none; may repeat.
        distances: [c] float32 to the owner.
        vectors: [n, d] float32.
        limit: most candidates to keep.
        inner_product: whether distances are minus inner products.

    Returns:
        (rows [k] int32, distances [k] float32), nearest first.
    """
    order = np.argsort(distances, kind="mergesort")
    rows = np.empty(limit, np.int32)
    kept = np.empty(limit, np.float32)
    count = 0
    for position in order:
        row = candidates[position]
        if row < 0 or row == owner or count == limit:
            continue
        keep = True
        for other in range(count):
            near = distance(vectors[row], vectors[rows[other]], inner_product)
            if rows[other] == row or near < distances[position]:
                keep = False
                break
        if keep:
            rows[count] = row
            kept[count] = distances[position]
            count += 1
    return rows[:count], kept[:count]


@numba.njit(cache=True)
def link_distances(links: Array, vectors: Array, inner_product: bool) -> Array:
    """[n, w] int32 rows of `vectors` (-1 for none) -> [n, w] float32 distances, infinite where there is no link."""
    out = np.full(links.shape, np.float32(np.inf), np.float32)
    for i in range(links.shape[0]):
        for j in range(links.shape[1]):
            if links[i, j] >= 0:
                out[i, j] = distance(vectors[i], vectors[links[i, j]], inner_product)
    return out


@numba.njit(cache=True)
def cut_rows(
    candidates: Array, distances: Array, vectors: Array, limit: int, inner_product: bool
) -> tuple[Array, Array]:
    """`cut` for each row of [q, c] candidates with no owner: [q, limit] int32 rows padded with -1, and distances."""
    rows = np.full((candidates.shape[0], limit), np.int32(-1), np.int32)
    kept = np.full((candidates.shape[0], limit), np.float32(np.inf), np.float32)
    for i in range(candidates.shape[0]):
        r, k = cut(-1, candidates[i], distances[i], vectors, limit, inner_product)
        rows[i, : len(r)] = r
        kept[i, : len(k)] = k
    return rows, kept


@numba.njit(cache=True)
def add_incoming(
    links: Array, kept: Array, receivers: Array, senders: Array, incoming: Array, vectors: Array, inner_product: bool
) -> None:
    """Adds senders to the links of receivers in place, by the diversity rule over all of a receiver's candidates.

    Args:
        links: [n, w] int32 rows of `vectors`, padded with -1.
        kept: [n, w] float32 their distances.
        receivers: [e] int32 rows below n, sorted.
        senders: [e] int32 rows of `vectors`.
        incoming: [e] float32 distances between the two.
        vectors: [n + q, d] float32.
        inner_product: whether distances are minus inner products.
    """
    width = links.shape[1]
    start = 0
    while start < len(receivers):
        row = receivers[start]
        stop = start
        while stop < len(receivers) and receivers[stop] == row:
            stop += 1
        candidates = np.concatenate((links[row], senders[start:stop]))
        distances = np.concatenate((kept[row], incoming[start:stop]))
        own = (links[row] >= 0).sum()
        if own + stop - start <= width:
            order = np.argsort(distances, kind="mergesort")
            count = own + stop - start
            links[row, :count] = candidates[order[:count]]
            kept[row, :count] = distances[order[:count]]
        else:
            r, k = cut(row, candidates, distances, vectors, width, inner_product)
            links[row] = -1
            kept[row] = np.float32(np.inf)
            links[row, : len(r)] = r
            kept[row, : len(k)] = k
        start = stop


@numba.njit(cache=True)
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
    width = links.shape[1]
    out = np.full(links.shape, np.int32(-1), np.int32)
    start = 0
    for i in range(links.shape[0]):
        stop = start
        while stop < len(rows) and rows[stop] == first + i:
            stop += 1
        all_rows = np.concatenate((links[i], candidates[start:stop].ravel()))
        all_distances = np.concatenate((kept[i], distances[start:stop].ravel()))
        order = np.argsort(all_distances, kind="mergesort")
        count = 0
        for position in order:
            row = all_rows[position]
            if row < 0 or row == first + i or count == width:
                continue
            seen = False
            for other in range(count):
                if out[i, other] == row:
                    seen = True
                    break
            if not seen:
                out[i, count] = row
                count += 1
        start = stop
    return out
