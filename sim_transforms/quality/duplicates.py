"""Which items are copies of one another, exact by digest or near by perceptual hash, and which leak from test to train.

Works on arrays, a row an item, in linear memory; many items of one hash are a group, never pairs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sim_transforms.quality.near_hashes import DISTANCE, NearHashes, near_hashes
from sim_transforms.quality.perceptual import FLAT, hamming

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Groups:
    """Rows in groups, largest first, then by first row; the rows of a group ascend.

    Attributes:
        rows: [m] int64, group after group.
        begins: [g + 1] int64 places in `rows`.
    """

    rows: Array
    begins: Array

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.begins) - 1

    def of(self, group: int) -> Array:
        """Rows of a group."""
        return self.rows[self.begins[group] : self.begins[group + 1]]

    def chosen(self, wanted: Array) -> "Groups":
        """Those of the groups, [g] bool."""
        sizes = np.diff(self.begins)
        return Groups(self.rows[np.repeat(wanted, sizes)], np.concatenate([[0], np.cumsum(sizes[wanted])]))

    def kinds(self, codes: Array) -> Array:
        """[g] number of different codes, [n] int64 of all rows, in each group."""
        number = np.repeat(np.arange(len(self)), np.diff(self.begins))
        order = np.lexsort((codes[self.rows], number))
        number, sorted_codes = number[order], codes[self.rows][order]
        new = np.ones(len(number), bool)
        new[1:] = (number[1:] != number[:-1]) | (sorted_codes[1:] != sorted_codes[:-1])
        return np.bincount(number[new], minlength=len(self))


def groups_of(codes: Array) -> Groups:
    """Groups of at least two rows of the same code, [n] integers."""
    order = np.argsort(codes, kind="stable")
    _, begins, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    several = sizes > 1
    begins, sizes = begins[several], sizes[several]
    ranks = np.lexsort((order[begins], -sizes))
    begins, sizes = begins[ranks], sizes[ranks]
    ends = np.concatenate([[0], np.cumsum(sizes)])
    places = np.arange(ends[-1]) + np.repeat(begins - ends[:-1], sizes)
    return Groups(order[places], ends)


@dataclass(frozen=True)
class HashedItems:
    """Items by their hashes.

    Attributes:
        hashes: [n] uint64.
        digests: [n] int64 codes of the content of the file that an item is of; items of one file have the same.
        distinct: [u] uint64 hashes other than FLAT, ascending.
        number: [n] int64 place in `distinct`, -1 of flat items.
        near: pairs of `distinct`.
    """

    hashes: Array
    digests: Array
    distinct: Array
    number: Array
    near: NearHashes

    @property
    def flat(self) -> int:
        """Items without detail, which are compared with none."""
        return int((self.number < 0).sum())


def hashed_items(hashes: Array, digests: Array, distance: int = DISTANCE) -> HashedItems:
    """Finds the near pairs among the hashes of items.

    Args:
        hashes: [n] uint64 of `perceptual_hash`.
        digests: [n] int64 codes of the files' content.
        distance: bits by which near duplicates may differ.
    """
    distinct = np.unique(hashes[hashes != FLAT])
    number = np.where(hashes != FLAT, np.searchsorted(distinct, hashes), -1)
    return HashedItems(hashes, digests, distinct, number, near_hashes(distinct, distance))


def near_groups(items: HashedItems) -> Groups:
    """Items linked by near hashes, directly or through others; of at least two different contents.

    Clips of one sound link nothing with one another: hashes of that file alone are not joined by their pairs.
    """
    owners = _only_digest(items)
    left, right = items.near.left, items.near.right
    across = (owners[left] != owners[right]) | (owners[left] < 0)
    roots = linked(len(items.distinct), left[across], right[across])
    rows = np.flatnonzero(items.number >= 0)
    found = groups_of(roots[items.number[rows]])
    groups = Groups(rows[found.rows], found.begins)
    return groups.chosen(groups.kinds(items.digests) > 1)


def _only_digest(items: HashedItems) -> Array:
    """[u] the one digest of a hash's items, -1 where there are several."""
    rows = np.flatnonzero(items.number >= 0)
    low = np.full(len(items.distinct), np.iinfo(np.int64).max)
    high = np.full(len(items.distinct), -1)
    np.minimum.at(low, items.number[rows], items.digests[rows])
    np.maximum.at(high, items.number[rows], items.digests[rows])
    return np.where(low == high, low, -1)


def linked(count: int, left: Array, right: Array) -> Array:
    """[count] int32: the same number for rows that pairs link, directly or through others."""
    pairs = sparse.coo_array((np.ones(len(left), np.int8), (left, right)), (count, count))
    numbers: Array = connected_components(pairs, directed=False)[1]
    return numbers


@dataclass(frozen=True)
class Leaks:
    """Test items of which the train split holds a copy.

    Attributes:
        test: [l] int64 rows, ascending.
        train: [l] int64 row of a copy: the exact, else the nearest one.
        exact: [l] bool, whether the files are the same.
        bits: [l] int64 bits by which the hashes differ.
    """

    test: Array
    train: Array
    exact: Array
    bits: Array


def find_leaks(items: HashedItems, is_train: Array) -> Leaks:
    """Finds a copy in the train split for each test item that has one; `is_train` is [n] bool."""
    exact = _exact_partners(items.digests, is_train)
    near = _near_partners(items, is_train)
    partners = np.where(exact >= 0, exact, near)
    test = np.flatnonzero(~is_train & (partners >= 0))
    train, same = partners[test], exact[test] >= 0
    bits = np.where(same, 0, hamming(items.hashes[test], items.hashes[train]).astype(np.int64))
    return Leaks(test, train, same, bits)


def _exact_partners(digests: Array, is_train: Array) -> Array:
    """[n] first train row of the same digest, or -1."""
    rows = np.flatnonzero(is_train)
    known, first = np.unique(digests[rows], return_index=True)
    return _looked_up(digests, known, rows[first])


def _looked_up(keys: Array, known: Array, values: Array) -> Array:
    if not len(known):
        return np.full(len(keys), -1)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, values[places], -1)


def _near_partners(items: HashedItems, is_train: Array) -> Array:
    """[n] the nearest train row of another digest among near hashes, or -1.

    Of each hash two train items of different digests are enough: one of them is of another digest than any test item's.
    """
    train = np.flatnonzero(is_train & (items.number >= 0))
    train = train[np.argsort(items.number[train], kind="stable")]
    numbers = items.number[train]
    first, second = _two_kinds(numbers, train, items.digests)
    held = np.concatenate([train[first], train[second]])
    left, right = items.near.left, items.near.right
    sources, targets = np.concatenate([left, right]), np.concatenate([right, left])
    offered_hash, offered = [items.number[held]], [held]
    for chosen in (train[first], train[second]):
        partner = _looked_up(targets, items.number[chosen], chosen)
        offered_hash.append(sources[partner >= 0])
        offered.append(partner[partner >= 0])
    seekers, rows = np.concatenate(offered_hash), np.concatenate(offered)
    bits = hamming(items.distinct[seekers], items.hashes[rows])
    order = np.lexsort((rows, bits, seekers))
    seekers, rows = seekers[order], rows[order]
    first, second = _two_kinds(seekers, rows, items.digests)
    best = _looked_up(items.number, seekers[first], rows[first])
    other = _looked_up(items.number, seekers[second], rows[second])
    return np.where((best >= 0) & (items.digests[best] == items.digests), other, best)


def _two_kinds(numbers: Array, rows: Array, digests: Array) -> tuple[Array, Array]:
    """Places of each number's first row, and of its first row of another digest than that; `numbers` ascend."""
    known, first = np.unique(numbers, return_index=True)
    leading = digests[rows[first]][np.searchsorted(known, numbers)]
    others = np.flatnonzero(digests[rows] != leading)
    _, second = np.unique(numbers[others], return_index=True)
    return first, others[second]
