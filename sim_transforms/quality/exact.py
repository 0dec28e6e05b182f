"""Exact nearest neighbours, the truth that an approximate index is measured against.

Distances are computed as blocks of matrix products, so memory does not grow with the catalog; time grows with
queries x items. Not for serving: `lookup` answers in milliseconds what takes seconds here.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim_transforms.hnsw.spaces import space_of

Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int32]

BLOCK = 16_384
_QUERIES = 256


def exact_neighbors(queries: Floats, base: Floats, k: int, space: str, *, block: int = BLOCK) -> tuple[Rows, Floats]:
    """The k nearest rows of `base` for each query, by comparing with all of them.

    Args:
        queries: [q, d] float32, prepared for the space here (unit length for cosine).
        base: [n, d] float32, prepared here too.
        k: neighbours wanted; fewer come back where the base is smaller.
        space: `cosine`, `l2` or `inner_product`.
        block: rows of the base compared at a time; bounds memory to about 256 * block * 12 bytes beside the inputs.

    Returns:
        rows [q, min(k, n)] int32 and the native distances [q, min(k, n)] float32 of the space, sorted by
        (distance, row).

    Raises:
        ValueError: k or block below 1, or arrays whose dimensions differ.
    """
    _check(queries, base, k, block)
    count = min(k, len(base))
    rows = np.empty((len(queries), count), np.int32)
    distances = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        rows[part], distances[part] = _scan(queries[part], base, count, space, block)
    return rows, distances


def _check(queries: Floats, base: Floats, k: int, block: int) -> None:
    if k < 1 or block < 1:
        raise ValueError(f"k: found {k}, block: found {block}; both are at least 1")
    if queries.ndim != 2 or base.ndim != 2 or queries.shape[1] != base.shape[1]:
        raise ValueError(f"found queries {queries.shape} and base {base.shape}; [q, d] and [n, d] are expected")


def _scan(queries: Floats, base: Floats, k: int, space: str, block: int) -> tuple[Rows, Floats]:
    """One block of queries against the whole base, keeping the k best so far."""
    kind = space_of(space)
    wanted = kind.prepare(queries)
    rows = np.empty((len(queries), 0), np.int32)
    distances = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(base), block):
        near = kind.native_distances(wanted, kind.prepare(base[start : start + block]))
        found = smallest(near, k)
        rows = np.concatenate([rows, (found + start).astype(np.int32)], axis=1)
        distances = np.concatenate([distances, np.take_along_axis(near, found, axis=1)], axis=1)
        # The rows kept so far are the lower ones, so a stable sort by distance sorts by (distance, row).
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        rows, distances = (
            np.take_along_axis(rows, order, axis=1),
            np.take_along_axis(distances, order, axis=1),
        )
    return rows, distances


def smallest(values: Floats, k: int) -> NDArray[np.int64]:
    """Positions of the k smallest of each line of [q, n], sorted by (value, position): [q, min(k, n)] int64."""
    if k >= values.shape[1]:
        return np.argsort(values, axis=1, kind="stable")
    limits = np.partition(values, k - 1, axis=1)[:, k - 1]
    found = np.empty((len(values), k), np.int64)
    for line, limit in enumerate(limits):
        # All that tie with the k-th stand here, so that position, not the partition, chooses among them.
        candidates = np.flatnonzero(values[line] <= limit)
        order = np.argsort(values[line, candidates], kind="stable")[:k]
        found[line] = candidates[order]
    return found
