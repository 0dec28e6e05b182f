"""Links across shards: what is done in the shard that is searched.

Both directions are cut here, where the vectors of both sides are: what an item of another shard finds (its candidates,
cut among themselves) and what this shard's items get back (own links and incoming ones, cut jointly).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph
from sim_transforms.hnsw.kernels import add_incoming, cut_rows, link_distances
from sim_transforms.hnsw.merge import write_shard_file
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

# Below this many items a shard is searched exhaustively: exact, and faster than opening a graph.
EXHAUSTIVE_ITEMS = 2000
_BLOCK = 1024


@dataclass(frozen=True)
class LinkedShard:
    """A shard's layer 0 with incoming links of other shards.

    Attributes:
        first_row: global row of its first item.
        links: [n, 2 m] int32 global rows, padded with -1.
        distances: [n, 2 m] float32 native distances, infinite where there is no link.
    """

    first_row: int
    links: Array
    distances: Array


@dataclass(frozen=True)
class Forward:
    """What items of other shards found in a shard.

    Attributes:
        rows: [q] int32 global rows of the items.
        candidates: [q, m] int32 global rows, padded with -1.
        distances: [q, m] float32 native distances, infinite where there is none.
    """

    rows: Array
    candidates: Array
    distances: Array


def link_shard(
    graph: ShardGraph, first_row: int, query_rows: Array, query_vectors: Array, settings: IndexSettings
) -> tuple[LinkedShard, Forward]:
    """Searches items of other shards in this one and links both ways.

    Args:
        graph: of this shard.
        first_row: global row of its first item.
        query_rows: [q] int32 global rows of the items, in any order.
        query_vectors: [q, d] float32, prepared.
        settings: of the index.
    """
    order = np.argsort(query_rows, kind="stable")
    rows, vectors = query_rows[order].astype(np.int32), np.ascontiguousarray(query_vectors[order])
    inner_product = space_of(settings.space).is_inner_product
    local, distances = _candidates(graph, vectors, settings)
    kept, kept_distances = cut_rows(local, distances, graph.vectors, settings.m, inner_product)
    links, own = _incoming(graph, vectors, kept, kept_distances, inner_product)
    foreign = np.concatenate([np.arange(len(graph.vectors), dtype=np.int32) + first_row, rows])
    linked = LinkedShard(first_row, np.where(links >= 0, foreign[links], -1).astype(np.int32), own)
    forward = Forward(rows, np.where(kept >= 0, kept + first_row, -1).astype(np.int32), kept_distances)
    return linked, forward


def _candidates(graph: ShardGraph, queries: Array, settings: IndexSettings) -> tuple[Array, Array]:
    """Nearest 2 m local rows of each query and their native distances, [q, c] each."""
    count = min(2 * settings.m, len(graph.vectors))
    if not len(queries) or not count:
        return np.zeros((len(queries), 0), np.int32), np.zeros((len(queries), 0), np.float32)
    if len(graph.vectors) <= EXHAUSTIVE_ITEMS:
        return _exhaustive(graph.vectors, queries, count, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.hnsw"
        write_shard_file(graph, path, settings)
        searcher = NativeSearcher(path, settings.space, len(graph.vectors), graph.vectors.shape[1])
        return searcher.search_native(queries, count, max(count, settings.ef_construction // 2))


def _exhaustive(vectors: Array, queries: Array, count: int, settings: IndexSettings) -> tuple[Array, Array]:
    space = space_of(settings.space)
    rows = np.empty((len(queries), count), np.int32)
    distances = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), _BLOCK):
        block = space.native_distances(queries[start : start + _BLOCK], vectors)
        near = np.argsort(block, axis=1, kind="stable")[:, :count]
        rows[start : start + _BLOCK] = near
        distances[start : start + _BLOCK] = np.take_along_axis(block, near, axis=1)
    return rows, distances


def _incoming(
    graph: ShardGraph, queries: Array, kept: Array, kept_distances: Array, inner_product: bool
) -> tuple[Array, Array]:
    """Own links and incoming ones: rows of [own vectors; queries], and their distances."""
    items = len(graph.vectors)
    links = graph.links.copy()
    distances = link_distances(links, graph.vectors, inner_product)
    senders, places = np.nonzero(kept >= 0)
    receivers = kept[senders, places]
    order = np.argsort(receivers, kind="stable")
    both = np.concatenate([graph.vectors, queries]) if len(queries) else graph.vectors
    add_incoming(
        links,
        distances,
        receivers[order].astype(np.int32),
        (senders[order] + items).astype(np.int32),
        kept_distances[senders, places][order],
        both,
        inner_product,
    )
    return links, distances
