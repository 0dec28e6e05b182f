"""All pairs of 64-bit hashes within a Hamming distance, without comparing all with all.

Multi-index hashing (Norouzi, Punjani, Fleet 2012): of the four parts of 16 bits, two hashes within distance d agree in
one part nearly or wholly. Let the parts have radii r such that the sum of all r + 1 is d + 1. Some part of the two
differs in at most its r bits, for were it r + 1 or more in each, it would be d + 1 in all; so it is enough to compare
those whose parts are so near. A bucket that is too full is searched by the parts that are left.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.quality.perceptual import BITS, hamming

Array = np.ndarray[Any, Any]

DISTANCE = 4
# Larger distances would look into most buckets; they are no sign of a copy either.
MOST_DISTANCE = 15
PART_BITS = 16
_SHIFTS = tuple(range(0, BITS, PART_BITS))
# Sizes of two buckets, multiplied, above which they are searched by further parts instead of each with each.
_FULL = 2048**2
# Pairs found that may wait, beside twice the limit, until those found twice are taken out.
_SPARE = 1_000_000
# Of two hashes each; some 10 s. A million hashes without much in common take 0.2 of it, millions of near pairs more.
MOST_COMPARED = 1_000_000_000


@dataclass(frozen=True)
class NearHashes:
    """Pairs of hashes, ordered, left below right.

    Attributes:
        left, right: [p] int64 rows of the hashes.
        whole: whether these are all; false where the limit, or that of comparisons, was met.
    """

    left: Array
    right: Array
    whole: bool


def near_hashes(hashes: Array, distance: int = DISTANCE, limit: int = 1_000_000) -> NearHashes:
    """Finds the pairs of hashes of which at most `distance` bits differ: exactly those, each once.

    A million hashes at distance 4 take some seconds and 0.2 GiB. What many items share is to be given once, as groups
    are no pairs. Hashes so alike that they make millions of pairs end the search before it is whole; in the same place
    for the same hashes.

    Args:
        hashes: [n] uint64, each another.
        distance: bits, 0 to MOST_DISTANCE.
        limit: pairs at most, which bounds memory.

    Raises:
        ValueError: hashes that stand twice, or a distance out of range.
    """
    if not 0 <= distance <= MOST_DISTANCE:
        raise ValueError(f"distance: found {distance}; 0 to {MOST_DISTANCE} are searched")
    if len(np.unique(hashes)) != len(hashes):
        raise ValueError("hashes stand more than once; give each once, and count the items of each")
    found = _Found(len(hashes), limit)
    _search(hashes, np.arange(len(hashes)), _SHIFTS, distance, found)
    return found.result()


class _Found:
    """Pairs as they are found, some of them several times, in bounded memory."""

    def __init__(self, count: int, limit: int) -> None:
        self._count, self._limit = count, limit
        self._codes: list[Array] = []
        self._kept = self._compared = 0
        self.full = False

    def count(self, compared: int) -> None:
        """Notes comparisons, which are bounded too."""
        self._compared += compared
        self.full = self.full or self._compared > MOST_COMPARED

    def add(self, left: Array, right: Array) -> None:
        codes = np.minimum(left, right) * self._count + np.maximum(left, right)
        self._codes.append(codes)
        self._kept += len(codes)
        if self._kept > 2 * self._limit + _SPARE:
            self._codes = [np.unique(np.concatenate(self._codes))]
            self._kept = len(self._codes[0])
            self.full = self.full or self._kept > self._limit

    def result(self) -> NearHashes:
        codes = np.unique(np.concatenate([np.zeros(0, np.int64), *self._codes]))
        kept = codes[: self._limit]
        count = max(1, self._count)
        return NearHashes(kept // count, kept % count, len(kept) == len(codes) and not self.full)


def _search(hashes: Array, rows: Array, shifts: tuple[int, ...], distance: int, found: _Found) -> None:
    """Adds the near pairs of some hashes that differ in the parts `shifts` alone, or nearly."""
    for place, shift in enumerate(shifts):
        radius = (distance + 1) // len(shifts) - 1 + int(place < (distance + 1) % len(shifts))
        if radius < 0:
            continue
        keys = ((hashes >> np.uint64(shift)) & np.uint64(2**PART_BITS - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        part = _Part(hashes[order], rows[order], keys[order])
        left = tuple(s for s in shifts if s != shift)
        for mask in _masks(radius):
            for members in part.compare(mask, distance, found, last=not left):
                _search(part.hashes[members], part.rows[members], left, distance, found)
            if found.full:
                return


class _Part:
    """Hashes in the order of one of their parts, and where the bucket of each key begins."""

    def __init__(self, hashes: Array, rows: Array, keys: Array) -> None:
        self.hashes, self.rows, self.keys = hashes, rows, keys
        self._sizes = np.bincount(keys, minlength=2**PART_BITS)
        self._begins = np.concatenate([[0], np.cumsum(self._sizes)])

    def compare(self, mask: int, distance: int, found: _Found, last: bool) -> Iterator[Array]:
        """Compares each bucket with that of its key with the mask's bits flipped; gives those that are too full."""
        other = self.keys ^ mask
        own_size, other_size = self._sizes[self.keys], self._sizes[other]
        places = np.arange(len(self.keys))
        begins, ends = self._begins[other], self._begins[other + 1]
        if mask == 0:
            begins, wanted = places + 1, own_size > 1
        else:
            # Each two buckets once; steps go over the smaller one.
            wanted = (own_size > other_size) | ((own_size == other_size) & (self.keys < other))
            wanted &= other_size > 0
        full = wanted & (own_size * other_size > _FULL) & (not last)
        self._step(places[wanted & ~full], begins, ends, distance, found)
        for key in np.unique(self.keys[full]).tolist():
            spans = [(self._begins[k], self._begins[k + 1]) for k in sorted({key, key ^ mask})]
            yield np.concatenate([np.arange(*span) for span in spans])

    def _step(self, places: Array, begins: Array, ends: Array, distance: int, found: _Found) -> None:
        """Compares each place with those from its begin to its end, one step of all places at a time."""
        others = begins[places]
        while not found.full:
            going = others < ends[places]
            places, others = places[going], others[going]
            if not len(places):
                return
            found.count(len(places))
            near = np.flatnonzero(hamming(self.hashes[places], self.hashes[others]) <= distance)
            if len(near):
                found.add(self.rows[places[near]], self.rows[others[near]])
            others = others + 1


@functools.lru_cache(maxsize=4)
def _masks(radius: int) -> tuple[int, ...]:
    """All patterns of at most `radius` of PART_BITS bits, fewest first."""
    bits = [1 << bit for bit in range(PART_BITS)]
    return tuple(sum(chosen) for count in range(radius + 1) for chosen in itertools.combinations(bits, count))
