"""The graph of nearest neighbours: groups of near duplicates, and communities.

Communities are those of the Leiden algorithm (Traag, Waltman, van Eck 2019, by graspologic-native) on an edge between
any two items of which one is among the other's nearest, weighed by the Jaccard index of both lists (as PhenoGraph does,
Levine and others 2015): in a region where everything is near to everything, distances say little, shared neighbours
much.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from graspologic_native import leiden
from scipy import sparse

from sim_transforms.quality.duplicates import Groups, groups_of, linked

Array = np.ndarray[Any, Any]

# Rows whose shared neighbours are counted at once.
_BLOCK = 50_000
# Odd multipliers of `row_hashes`.
_HASH_SEED = 7
# Of Leiden's refinement: how readily an item joins a community that is not the best one.
_RANDOMNESS = 0.001


@dataclass(frozen=True)
class NeighborGraph:
    """Items by place, 0 to n - 1.

    Attributes:
        neighbors: [n, k] int32 places, nearest first, itself left out; -1 where there are fewer.
        distances: [n, k] float32.
        repeats: [r, 2] int64: an item, and the first one of the very same vector.
    """

    neighbors: Array
    distances: Array
    repeats: Array

    def __len__(self) -> int:
        """Items."""
        return len(self.neighbors)


@dataclass(frozen=True)
class NearDuplicates:
    """Attributes:
    groups: places; largest first, the items of a group in their order.
    nearest: [n] float32 distance of an item to the nearest other that it is grouped by; NaN in no group.
    kept: [n] bool: of each group the item with most edges, the first of equals; and all that are in no group.
    full: items all of whose neighbours are so near: there may be more.
    """

    groups: Groups
    nearest: Array
    kept: Array
    full: int


@dataclass(frozen=True)
class Communities:
    """Attributes:
    numbers: [n] int32, from 0, largest community first, then by its first item.
    sizes: [c] int64.
    modularity: of the weighed graph, at the resolution asked for.
    """

    numbers: Array
    sizes: Array
    modularity: float


def near_duplicates(graph: NeighborGraph, max_distance: float, owners: Array | None = None) -> NearDuplicates:
    """Items linked by distances up to a bound, directly or through others.

    Args:
        graph: of nearest neighbours.
        max_distance: the bound.
        owners: [n] int64; items of one owner are not linked with one another.
    """
    near = (graph.neighbors >= 0) & (graph.distances <= max_distance)
    left = np.concatenate([np.nonzero(near)[0], graph.repeats[:, 0]])
    right = np.concatenate([graph.neighbors[near].astype(np.int64), graph.repeats[:, 1]])
    lengths = np.concatenate([graph.distances[near], np.zeros(len(graph.repeats), np.float32)])
    if owners is not None:
        apart = owners[left] != owners[right]
        left, right, lengths = left[apart], right[apart], lengths[apart]
    size = len(graph)
    nearest = np.full(size, np.inf, np.float32)
    for ends in (left, right):
        np.minimum.at(nearest, ends, lengths)
    groups = groups_of(linked(size, left, right))
    edges = np.bincount(left, minlength=size) + np.bincount(right, minlength=size)
    kept = np.ones(size, bool)
    kept[groups.rows] = False
    # Within a group the most edges first, then the first place.
    numbers = np.repeat(np.arange(len(groups)), np.diff(groups.begins))
    order = np.lexsort((groups.rows, -edges[groups.rows], numbers))
    kept[groups.rows[order[groups.begins[:-1]]]] = True
    full = int(near.all(axis=1).sum()) if 0 < near.shape[1] < size - 1 else 0
    return NearDuplicates(groups, np.where(np.isinf(nearest), np.float32(np.nan), nearest), kept, full)


def communities(graph: NeighborGraph, resolution: float, seed: int) -> Communities:
    """Groups of items that share neighbours with one another more than with the rest.

    Args:
        graph: of nearest neighbours; 10 to 30 of each are usual.
        resolution: above 1 for smaller communities, below for larger ones.
        seed: of the order in which items are moved.
    """
    edges = sparse.triu(shared_neighbors(graph), 1).tocoo()
    # Items without an edge are communities of their own.
    labels, modularity = np.arange(len(graph)) + len(graph), 0.0
    if edges.nnz:
        names = [str(place) for place in range(len(graph))]
        ends = [[names[place] for place in places.tolist()] for places in (edges.row, edges.col)]
        listed = list(zip(*ends, edges.data.tolist(), strict=True))
        modularity, found = leiden(listed, None, resolution, _RANDOMNESS, 1, True, seed, 1)
        labels[[int(name) for name in found]] = list(found.values())
    numbers, sizes = _by_size(labels)
    return Communities(numbers, sizes, float(modularity))


def shared_neighbors(graph: NeighborGraph) -> sparse.csr_matrix:
    """[n, n] float64, symmetric: where one of two items lists the other, the Jaccard index of their lists.

    Each item counts as one of its own list.
    """
    size = len(graph)
    there = graph.neighbors >= 0
    lists = sparse.csr_matrix(
        (
            np.ones(int(there.sum()) + size, np.float32),
            (
                np.concatenate([np.nonzero(there)[0], np.arange(size)]),
                np.concatenate([graph.neighbors[there], np.arange(size, dtype=np.int32)]),
            ),
        ),
        shape=(size, size),
    )
    lengths = np.asarray(lists.sum(axis=1)).ravel()
    either = lists.maximum(lists.T).tocsr()
    either.setdiag(0)
    either.eliminate_zeros()
    blocks = []
    for start in range(0, size, _BLOCK):
        rows = either[start : start + _BLOCK]
        shared = (lists[start : start + _BLOCK] @ lists.T).multiply(rows).tocoo()
        union = lengths[start + shared.row] + lengths[shared.col] - shared.data
        weights = (shared.data / union).astype(np.float64)
        blocks.append(sparse.csr_matrix((weights, (shared.row, shared.col)), shape=rows.shape))
    return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix((0, 0))


def repeated_rows(blocks: Iterable[Array]) -> Array:
    """[r, 2] int64 of a row and the first one of the same vector, each later row once, in order.

    Args:
        blocks: [m, d] float32 of consecutive rows, from 0. Two different vectors of one 64-bit hash would be taken for
            the same: among a billion items, once in 40.
    """
    hashes = [row_hashes(block) for block in blocks]
    found = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    _, firsts, inverse = np.unique(found, return_index=True, return_inverse=True)
    source = firsts[inverse]
    later = np.flatnonzero(source != np.arange(len(found)))
    return np.stack([later, source[later]], axis=1)


def row_hashes(vectors: Array) -> Array:
    """[n] uint64 of [n, d] float32 by multiply-shift on their bits; 0 and -0 are the same."""
    bits = np.ascontiguousarray(vectors + np.float32(0)).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(_HASH_SEED).integers(0, 2**64, (2, bits.shape[1]), np.uint64) | np.uint64(1)
    halves = [(bits * factor).sum(axis=1, dtype=np.uint64) >> np.uint64(32) for factor in factors]
    return halves[0] << np.uint64(32) | halves[1]


def _by_size(labels: Array) -> tuple[Array, Array]:
    """Labels renumbered: the most frequent first, then the one that stands first."""
    _, firsts, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((firsts, -sizes))
    numbers = np.empty(len(order), np.int32)
    numbers[order] = np.arange(len(order), dtype=np.int32)
    return numbers[inverse], sizes[order].astype(np.int64)
