"""The whole chain in memory, one shard after the other: for tuning, estimates, and as the oracle of the Beam stages."""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph, build_shard
from sim_transforms.hnsw.build_upper import build_upper
from sim_transforms.hnsw.cells import arrange
from sim_transforms.hnsw.connect import anchors_of
from sim_transforms.hnsw.levels import draw_levels, highest, of_distinct
from sim_transforms.hnsw.link import Forward, LinkedShard, foreign_links, join_forward, link_shard
from sim_transforms.hnsw.merge import merge_shard, upper_of, write_file
from sim_transforms.hnsw.partition import (
    centroid_of,
    fit_partition,
    neighbor_numbers,
    sample_size,
    shard_cap,
    split_cell,
)
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import no_upper_layers
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


def build_whole(vectors: Array, settings: IndexSettings, path: Path, item_ids: list[str] | None = None) -> Array:
    """Builds and writes one merged index of vectors that fit into memory.

    Args:
        vectors: [n, d] float32, prepared for the space here.
        settings: of the index.
        path: of the file.
        item_ids: n ids, which draw the levels; the positions as text where not given.

    Returns:
        [n] int64, position in `vectors` of each row of the file.
    """
    vectors = space_of(settings.space).prepare(vectors)
    ids = item_ids if item_ids is not None else [str(position) for position in range(len(vectors))]
    levels = draw_levels(ids, settings.m, settings.seed)
    shards, graphs = [], []
    for rows in shard_rows(space_of(settings.space).places(vectors), ids, settings):
        order, cells = arrange(vectors[rows], space_of(settings.space))
        shards.append(rows[order])
        own = of_distinct(levels[rows[order]], cells.distinct)
        graphs.append(build_shard(vectors[rows[order]], cells, own, settings))
    firsts = np.concatenate([[0], np.cumsum([len(rows) for rows in shards])]).astype(int)[:-1]
    links = merge_graphs(graphs, firsts, settings)
    upper = no_upper_layers()
    if graphs:
        parts = [upper_of(graph, first) for graph, first in zip(graphs, firsts, strict=True)]
        rows, above, high = (np.concatenate(part) for part in zip(*parts, strict=True))
        upper = build_upper(rows, above, high, settings)
    write_file(path, [(graph.vectors, own) for graph, own in zip(graphs, links, strict=True)], upper, settings)
    return np.concatenate([np.zeros(0, np.int64), *shards])


def shard_rows(vectors: Array, item_ids: list[str], settings: IndexSettings) -> list[Array]:
    """Positions [n_i] of the items of each shard, ascending within it; every position once."""
    cap = shard_cap(len(vectors), settings)
    count = sample_size(len(vectors), cap)
    sample = vectors[np.arange(count) * len(vectors) // max(count, 1)]
    groups = fit_partition(sample, len(vectors), cap, settings.seed).groups_of(vectors, item_ids)
    shards = []
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        parts = split_cell(vectors[rows], cap, settings.seed)
        shards += [rows[parts == part] for part in range(parts.max() + 1)]
    return shards


def merge_graphs(graphs: list[ShardGraph], firsts: Array, settings: IndexSettings) -> list[Array]:
    """Links and merges shards; [n_i, 2 m] int32 global rows of each.

    Args:
        graphs: in shard order.
        firsts: [shards] int64, global row of the first item of each.
        settings: of the index.
    """
    if not graphs:
        return []
    asking = _asking(graphs, settings)
    linked: list[LinkedShard] = []
    forward: list[Forward] = []
    for number, graph in enumerate(graphs):
        chosen = [np.flatnonzero((targets == number).any(axis=1)) for targets in asking]
        rows = np.concatenate([mine + first for mine, first in zip(chosen, firsts, strict=True)])
        queries = np.concatenate([other.vectors[mine] for other, mine in zip(graphs, chosen, strict=True)])
        own, found = link_shard(graph, int(firsts[number]), rows, queries, settings)
        linked.append(own)
        forward.append(found)
    joined = join_forward(forward, foreign_links(settings))
    roots = np.array([first + highest(graph.levels) for graph, first in zip(graphs, firsts, strict=True)])
    merged = []
    for number, (graph, own) in enumerate(zip(graphs, linked, strict=True)):
        mine = (joined.rows >= own.first_row) & (joined.rows < own.first_row + len(graph.vectors))
        home = Forward(joined.rows[mine], joined.candidates[mine], joined.distances[mine])
        merged.append(merge_shard(own, home, graph, anchors_of(number, roots), settings.space))
    return merged


def _asking(graphs: list[ShardGraph], settings: IndexSettings) -> list[Array]:
    """For each shard [u, neighbor_shards] int32: the shards that its different vectors are searched in."""
    space = space_of(settings.space)
    centroids = np.stack([centroid_of(space.places(graph.vectors)) for graph in graphs])
    distinct = [space.places(graph.vectors[: graph.cells.distinct]) for graph in graphs]
    return [neighbor_numbers(v, number, centroids, settings.neighbor_shards) for number, v in enumerate(distinct)]
