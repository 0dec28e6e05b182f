"""Compiled inner loops of a patch: vectors of the published file and of the additions under one numbering.

Rows of the file keep their numbers; addition i is numbered n + i until it gets a row. No fastmath and no threads, as in
`kernels`.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from sim_transforms.hnsw.kernels import sort_pairs
from sim_transforms.hnsw.lanes import product_at, squared_distance_at

Array = np.ndarray[Any, Any]

# Candidates that are tried for each link that is lost: a farther one is seldom left by the diversity rule.
TRIED = 12


class Addresses(NamedTuple):
    """Where vectors lie, in bytes; whoever holds this holds the arrays too.

    Attributes:
        first: of the vector of row 0 of the file.
        step: from row to row.
        fresh: of the vector of addition 0; the additions' vectors stand one after the other.
        items: n.
        dimension: d.
        inner_product: whether distances are minus inner products.
    """

    first: int
    step: int
    fresh: int
    items: int
    dimension: int
    inner_product: bool


@numba.njit(cache=True, nogil=True)
def _address_of(vectors: Addresses, number: int) -> int:
    if number >= vectors.items:
        return vectors.fresh + (number - vectors.items) * vectors.dimension * 4
    return vectors.first + number * vectors.step


@numba.njit(cache=True, nogil=True)
def _gap(vectors: Addresses, a: int, b: int) -> np.float32:
    """Distance of two rows or additions."""
    places = _address_of(vectors, a), _address_of(vectors, b)
    if vectors.inner_product:
        return -product_at(places[0], places[1], vectors.dimension)
    return squared_distance_at(places[0], places[1], vectors.dimension)


@numba.njit(cache=True, nogil=True)
def _is_covered(vectors: Addresses, candidate: int, gap: np.float32, kept: Array, count: int) -> bool:
    """The diversity rule: whether a kept link is nearer to the candidate than the candidate is to its owner."""
    for place in range(count):
        near = _gap(vectors, candidate, np.int64(kept[place]))
        if near < gap or (near == 0 and not vectors.inner_product):
            return True
    return False


@numba.njit(cache=True, nogil=True)
def links_to_gone(links: Array, gone: Array) -> Array:
    """[e] int32 rows that are gone, once for each link to them."""
    count = 0
    for pass_over in range(2):
        if pass_over:
            out = np.empty(count, np.int32)
        count = 0
        for link in links.flat:
            if link >= 0 and gone[link]:
                if pass_over:
                    out[count] = link
                count += 1
    return out


@numba.njit(cache=True, nogil=True)
def repair(links: Array, numbers: Array, gone: Array, lost: Array, lists: Array, vectors: Addresses) -> None:
    """Takes links to rows that are gone out of lists and fills up from the lists of those rows, in place.

    A row keeps its live links. Replacements are live links of the rows that are gone, nearest first, by the diversity
    rule against what the row already links to, up to as many links as it had: choosing the whole list anew lost 0.4
    points of recall in four rounds. Where a quarter of the items is deleted and none added, all candidates and twelve
    tries keep 0.7 points more than the four nearest of each list.

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
                if other >= 0 and not gone[other] and other != numbers[i]:
                    some[count], gaps[count] = other, _gap(vectors, np.int64(numbers[i]), np.int64(other))
                    count += 1
        sort_pairs(gaps, some, count)
        for place in range(min(count, TRIED * (degree - kept))):
            if kept == degree:
                break
            other = np.int64(some[place])
            if not _stands_in(line, kept, other) and not _is_covered(vectors, other, gaps[place], line, kept):
                line[kept] = other
                kept += 1


@numba.njit(cache=True, nogil=True)
def _stands_in(rows: Array, count: int, row: int) -> bool:
    for place in range(count):  # noqa: SIM110 - a generator does not compile
        if rows[place] == row:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def receive(
    links: Array, numbers: Array, receivers: Array, senders: Array, incoming: Array, vectors: Addresses
) -> None:
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
            if _is_covered_nearer(vectors, numbers[place], np.int64(sender), gap, line):
                continue
            if not known:
                for other in range(width):
                    gaps[other] = _gap(vectors, np.int64(numbers[place]), np.int64(line[other]))
                known = True
            farthest = np.argmax(gaps)
            if gap < gaps[farthest]:
                line[farthest], gaps[farthest] = sender, gap
        start = stop


@numba.njit(cache=True, nogil=True)
def _is_covered_nearer(vectors: Addresses, owner: int, sender: int, gap: np.float32, line: Array) -> bool:
    """The diversity rule against the links that are no farther from the owner than the sender is."""
    for link in line:
        near = _gap(vectors, sender, np.int64(link))
        if (near < gap or (near == 0 and not vectors.inner_product)) and _gap(vectors, owner, np.int64(link)) <= gap:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def gaps_of(links: Array, numbers: Array, vectors: Addresses) -> Array:
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
