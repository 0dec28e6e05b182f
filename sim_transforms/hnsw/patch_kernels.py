"""Compiled inner loops of a patch: vectors of the published file and of the additions under one numbering.

Rows of the file keep their numbers; addition i is numbered n + i until it gets a row. No fastmath and no threads, as in
`kernels`.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from sim_transforms.hnsw.kernels import distance, sort_pairs

Array = np.ndarray[Any, Any]

# Candidates that are tried for each link that is lost: a farther one is seldom left by the diversity rule.
TRIED = 8


class Vectors(NamedTuple):
    """Where vectors lie.

    Attributes:
        floats: [n * step] float32, the vector of row i from i * step + ahead on.
        step, ahead, dimension: in words.
        items: n.
        fresh: [a * dimension] float32, the additions' vectors one after the other.
        inner_product: whether distances are minus inner products.
    """

    floats: Array
    step: int
    ahead: int
    dimension: int
    items: int
    fresh: Array
    inner_product: bool


@numba.njit(cache=True, nogil=True)
def vector_of(vectors: Vectors, number: int) -> Array:
    """[d] float32 of a row of the file, or of an addition."""
    if number >= vectors.items:
        start = (number - vectors.items) * vectors.dimension
        return vectors.fresh[start : start + vectors.dimension]
    start = number * vectors.step + vectors.ahead
    return vectors.floats[start : start + vectors.dimension]


@numba.njit(cache=True, nogil=True)
def copy_vectors(vectors: Vectors, numbers: Array) -> Array:
    """[r, d] float32 of rows and additions."""
    out = np.empty((len(numbers), vectors.dimension), np.float32)
    for i in range(len(numbers)):
        out[i] = vector_of(vectors, np.int64(numbers[i]))
    return out


@numba.njit(cache=True, nogil=True)
def _gap(vectors: Vectors, a: int, b: int) -> np.float32:
    return distance(vector_of(vectors, a), vector_of(vectors, b), vectors.inner_product)


@numba.njit(cache=True, nogil=True)
def _is_covered(vectors: Vectors, candidate: int, gap: np.float32, kept: Array, count: int) -> bool:
    """The diversity rule: whether a kept link is nearer to the candidate than the candidate is to its owner."""
    for place in range(count):
        near = _gap(vectors, candidate, np.int64(kept[place]))
        if near < gap or (near == 0 and not vectors.inner_product):
            return True
    return False


@numba.njit(cache=True, nogil=True)
def repair(links: Array, numbers: Array, gone: Array, lost: Array, lists: Array, vectors: Vectors) -> None:
    """Takes links to rows that are gone out of lists and fills up from the lists of those rows, in place.

    A row keeps its live links. Replacements are live links of the rows that are gone, nearest first, by the diversity
    rule against what the row already links to, up to as many links as it had: choosing the whole list anew lost 0.4
    points of recall in four rounds.

    Args:
        links: [r, w] int32 of the rows `numbers`, padded with -1.
        numbers: [r] int32.
        gone: [n] bool, which rows of the file are gone.
        lost: [g] int32, those of them that are linked to, ascending.
        lists: [g, w] int32 their links, padded with -1.
        vectors: of all.
    """
    width = links.shape[1]
    some, gaps = np.empty(width * width, np.int32), np.empty(width * width, np.float32)
    for i in range(len(links)):
        line, whole = links[i], True
        for link in line:
            if link >= 0 and gone[link]:
                whole = False
                break
        if whole:
            continue
        old, kept, count = line.copy(), 0, 0
        degree = 0
        for link in old:
            if link >= 0:
                degree += 1
                if not gone[link]:
                    line[kept] = link
                    kept += 1
        line[kept:] = np.int32(-1)
        for link in old:
            if link < 0 or not gone[link]:
                continue
            for other in lists[np.searchsorted(lost, link)]:
                if other < 0 or gone[other] or other == numbers[i] or _stands_in(line, kept, other):
                    continue
                if not _stands_in(some, count, other):
                    some[count], gaps[count] = other, _gap(vectors, np.int64(numbers[i]), np.int64(other))
                    count += 1
        sort_pairs(gaps, some, count)
        for place in range(min(count, TRIED * (degree - kept))):
            if kept == degree:
                break
            if not _is_covered(vectors, np.int64(some[place]), gaps[place], line, kept):
                line[kept] = some[place]
                kept += 1


@numba.njit(cache=True, nogil=True)
def _stands_in(rows: Array, count: int, row: int) -> bool:
    for place in range(count):  # noqa: SIM110 - a generator does not compile
        if rows[place] == row:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def receive(links: Array, numbers: Array, receivers: Array, senders: Array, incoming: Array, vectors: Vectors) -> None:
    """Adds senders to the lists of receivers in place.

    Where there is no room, a sender that the diversity rule allows takes the place of the farthest link. What a list
    holds is not chosen anew: that costs five times as much, and recall.

    Args:
        links: [r, w] int32 of the rows `numbers`, padded with -1.
        numbers: [r] int32.
        receivers: [e] int32 places in `links`, ascending.
        senders: [e] int32 rows or additions.
        incoming: [e] float32 distances between the two.
        vectors: of all.
    """
    width, start = links.shape[1], 0
    gaps = np.empty(width, np.float32)
    while start < len(receivers):
        place, stop = receivers[start], start
        while stop < len(receivers) and receivers[stop] == place:
            stop += 1
        line, count, known = links[place], 0, False
        while count < width and line[count] >= 0:
            count += 1
        order = np.argsort(incoming[start:stop], kind="mergesort")
        for at in order:
            sender, gap = senders[start + at], incoming[start + at]
            if _stands_in(line, count, sender):
                continue
            if count < width:
                line[count] = sender
                count += 1
                continue
            if not known:
                for other in range(width):
                    gaps[other] = _gap(vectors, np.int64(numbers[place]), np.int64(line[other]))
                known = True
            farthest = np.argmax(gaps)
            if gap < gaps[farthest] and not _is_covered_nearer(vectors, np.int64(sender), gap, line, gaps):
                line[farthest], gaps[farthest] = sender, gap
        start = stop


@numba.njit(cache=True, nogil=True)
def _is_covered_nearer(vectors: Vectors, sender: int, gap: np.float32, line: Array, gaps: Array) -> bool:
    """The diversity rule against the links that are nearer to the owner than the sender is."""
    for place in range(len(line)):
        if gaps[place] <= gap:
            near = _gap(vectors, sender, np.int64(line[place]))
            if near < gap or (near == 0 and not vectors.inner_product):
                return True
    return False


@numba.njit(cache=True, nogil=True)
def gaps_of(links: Array, numbers: Array, vectors: Vectors) -> Array:
    """[r, w] float32 distances of the links of the rows `numbers`, infinite where there is none."""
    out = np.full(links.shape, np.float32(np.inf), np.float32)
    for i in range(links.shape[0]):
        for j in range(links.shape[1]):
            if links[i, j] >= 0:
                out[i, j] = _gap(vectors, np.int64(numbers[i]), np.int64(links[i, j]))
    return out


@numba.njit(cache=True, nogil=True)
def hashes(lines: Array) -> Array:
    """[n, d] int32 words -> [n] int64 that are equal for equal lines (and by bad luck of 2^-64 for others)."""
    out = np.empty(len(lines), np.int64)
    for i in range(len(lines)):
        value = np.uint64(14695981039346656037)
        for word in lines[i]:
            value = (value ^ np.uint64(np.uint32(word))) * np.uint64(1099511628211)
            value ^= value >> np.uint64(29)
        out[i] = np.int64(value)
    return out


@numba.njit(cache=True, nogil=True)
def localise(links: Array, firsts: Array, ends: Array, offsets: Array, compact: Array, foreign: int) -> Array:
    """Links by row -> links by place: rows within the ranges [firsts, ends) to `compact[offset + row - first]`.

    Rows elsewhere become `foreign`, -1 stays.
    """
    out = np.empty(links.shape, np.int32)
    for i in range(links.shape[0]):
        for j in range(links.shape[1]):
            link = links[i, j]
            out[i, j] = -1 if link < 0 else foreign
            for part in range(len(firsts)):
                if firsts[part] <= link < ends[part]:
                    out[i, j] = compact[offsets[part] + link - firsts[part]]
                    break
    return out
