"""Exact nearest neighbours, the truth that an approximate index is measured against.

Blocks of matrix products in float32 find who may be near, the difference of the vectors in float64 says who is: equal
distances stay equal, and neither the size of a block nor the threads of a BLAS change an answer. Memory does not grow
with the catalog; time grows with queries x items. Not for serving: `lookup` takes milliseconds for what takes seconds
here.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sim_transforms.hnsw.spaces import Space, space_of

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
        found, near = _nearest(kind, wanted, kind.prepare(base[start : start + block]), k)
        rows = np.concatenate([rows, (found + start).astype(np.int32)], axis=1)
        distances = np.concatenate([distances, near], axis=1)
        # The rows kept so far are the lower ones, so a stable sort by distance sorts by (distance, row).
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        rows, distances = (
            np.take_along_axis(rows, order, axis=1),
            np.take_along_axis(distances, order, axis=1),
        )
    return rows, distances


def _nearest(kind: Space, queries: Floats, part: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
    """Positions in `part` [n, d] and distances, both [q, min(k, n)], sorted by (distance, position)."""
    count = min(k, len(part))
    rough = _rough(kind, queries, part)
    limits = np.partition(rough, count - 1, axis=1)[:, count - 1] + 2 * _rounding(kind, queries, part)
    found, near = np.empty((len(queries), count), np.int64), np.empty((len(queries), count), np.float32)
    wide = part.astype(np.float64)
    for line, limit in enumerate(limits):
        candidates = np.flatnonzero(rough[line] <= limit)
        distances = _distances(kind, queries[line], wide[candidates])
        order = np.argsort(distances, kind="stable")[:count]
        found[line], near[line] = candidates[order], distances[order]
    return found, near


def _rough(kind: Space, queries: Floats, part: Floats) -> Floats:
    """[q, n] float32 that order the vectors of `part` as distances do: minus products, or half of the squares - |q|^2.

    In place, because the block is written many times faster than it is made anew.
    """
    if kind.name == "l2":
        centre = part.mean(axis=0, dtype=np.float64)
        queries, part = (queries - centre).astype(np.float32), (part - centre).astype(np.float32)
    products: Floats = queries @ part.T
    if kind.is_inner_product:
        return np.negative(products, out=products)
    return np.subtract((part * part).sum(axis=1) / np.float32(2), products, out=products)


def _distances(kind: Space, query: Floats, vectors: NDArray[np.float64]) -> Floats:
    """[n] float32 native distances of `query` [d] to [n, d], rounded once."""
    if kind.is_inner_product:
        # A sum line by line: a BLAS may round a line by where in the block it stands.
        return np.asarray(-(vectors * query).sum(axis=1), np.float32)
    return np.asarray(np.square(vectors - query).sum(axis=1), np.float32)


def _rounding(kind: Space, queries: Floats, part: Floats) -> NDArray[np.float64]:
    """[q] bound of the error of the distances behind `_rough` against [n, d]; its half squares are off by half of it.

    A sum of d float32 products is off by at most d * 2^-24 of the sum of their sizes (Higham 2002, section 3.1), and
    that is at most the squared lengths of both, taken from the centre as the space itself does in `l2`.
    """
    wide, base = queries.astype(np.float64), part.astype(np.float64)
    if kind.name == "l2":
        centre = base.mean(axis=0)
        wide, base = wide - centre, base - centre
    lengths = np.square(wide).sum(axis=1) + np.square(base).sum(axis=1).max()
    return np.asarray(2 * (queries.shape[1] + 4) * 2.0**-24 * lengths)
