"""Links across shards: what is done in the shard that is searched.

Both directions are cut here, where the vectors of both sides are: what an item of another shard finds (its candidates,
cut among themselves) and what this shard's items get back (own links and incoming ones, cut jointly).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph, add_links, effort_of
from sim_transforms.hnsw.cell_search import CellSearch
from sim_transforms.hnsw.kernels import cut_candidates
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


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
        candidates: [q, m / 2] int32 global rows, padded with -1.
        distances: [q, m / 2] float32 native distances, infinite where there is none.
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
    rows, queries = query_rows[order].astype(np.int32), np.ascontiguousarray(query_vectors[order])
    space, effort, items = space_of(settings.space), effort_of(settings), len(graph.vectors)
    search = CellSearch(graph.vectors, graph.cells, space)
    found = search.search(queries, effort.foreign_candidates, effort.foreign_probes)
    kept, gaps = cut_candidates(queries, found, graph.vectors, foreign_links(settings), space.is_inner_product)
    senders, places = np.nonzero(kept >= 0)
    links, both = graph.links.copy(), np.concatenate([graph.vectors, queries])
    incoming = (kept[senders, places], senders + items, gaps[senders, places])
    distances = add_links(links, *incoming, both, space.is_inner_product)
    foreign = np.concatenate([np.arange(items, dtype=np.int32) + first_row, rows])
    linked = LinkedShard(first_row, np.where(links >= 0, foreign[links], -1).astype(np.int32), distances)
    return linked, Forward(rows, np.where(kept >= 0, kept + first_row, -1).astype(np.int32), gaps)


def join_forward(pieces: Iterable[Forward], width: int) -> Forward:
    """Answers of several shards as one, in the order of the shards that they come from; `width` of none."""
    nothing = Forward(np.zeros(0, np.int32), np.zeros((0, width), np.int32), np.zeros((0, width), np.float32))
    ordered = [nothing, *sorted(pieces, key=_source)]
    return Forward(
        *(np.concatenate([getattr(p, name) for p in ordered]) for name in ("rows", "candidates", "distances"))
    )


def _source(found: Forward) -> tuple[int, int]:
    return int(found.candidates.max(initial=-1)), int(found.rows[0]) if len(found.rows) else -1


def split_forward(forward: Forward, firsts: Array) -> Iterator[tuple[int, Forward]]:
    """Cuts answers by the shard that the query items belong to: (shard, its items' answers).

    Args:
        forward: of one shard.
        firsts: [shards] first row or number of each shard, ascending; of an empty one that of the next.
    """
    homes = np.searchsorted(firsts, forward.rows, side="right") - 1
    for home in np.unique(homes):
        mine = homes == home
        yield int(home), Forward(forward.rows[mine], forward.candidates[mine], forward.distances[mine])


def foreign_links(settings: IndexSettings) -> int:
    """Most links of an item into one neighbour shard: half of m (README of this room)."""
    return max(1, settings.m // 2)
