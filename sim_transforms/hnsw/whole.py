"""The whole chain in one process: vectors -> one native index file, by the same pure functions as the Beam stages.

For samples and for what fits into one process: it holds all vectors and all links at once. A catalog goes through
`build_index`, whose workers hold a shard each.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph, build_shard
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, upper_bytes
from sim_transforms.hnsw.link import Forward, LinkedShard, link_shard
from sim_transforms.hnsw.merge import build_upper, merge_links
from sim_transforms.hnsw.partition import centroid_of, fit_centroids, nearest_cells, split_cell
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import no_upper_layers
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


def build_whole(vectors: Array, settings: IndexSettings, path: Path) -> Array:
    """Writes the native index of [n, d] vectors to `path`.

    Args:
        vectors: [n, d], finite; prepared for the space here.
        settings: of the index.
        path: of the file; its folder exists.

    Returns:
        [n] int, the position in `vectors` of each row of the file.
    """
    vectors = space_of(settings.space).prepare(vectors)
    shards = _shards(vectors, settings)
    if not shards:
        path.write_bytes(header_bytes(0, vectors.shape[1], settings, no_upper_layers()))
        return np.zeros(0, int)
    graphs = [build_shard(vectors[rows], settings) for rows in shards]
    firsts = np.concatenate([[0], np.cumsum([len(s) for s in shards])]).astype(int)
    linked, forward = _link(graphs, firsts, settings)
    above = np.concatenate([np.flatnonzero(g.levels >= 1) + f for g, f in zip(graphs, firsts[:-1], strict=True)])
    upper = build_upper(above.astype(np.int32), vectors[np.concatenate(shards)[above]], settings)
    with path.open("wb") as file:
        file.write(header_bytes(len(vectors), vectors.shape[1], settings, upper))
        for number, graph in enumerate(graphs):
            found = _found_by(forward, firsts[number], firsts[number + 1])
            links = merge_links(linked[number], found, settings)
            file.write(record_bytes(graph.vectors, int(firsts[number]), links))
        for number, graph in enumerate(graphs):
            file.write(upper_bytes(int(firsts[number]), len(graph.vectors), upper, settings))
    return np.concatenate(shards)


def _shards(vectors: Array, settings: IndexSettings) -> list[Array]:
    """Positions of the items of each shard, in shard order."""
    cap = settings.shard_items
    if settings.shards is not None:
        cap = max(1, math.ceil(1.25 * len(vectors) / settings.shards))
    centroids = fit_centroids(vectors, len(vectors), cap, settings.seed)
    cells = nearest_cells(vectors, centroids, 1)[:, 0]
    shards = []
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        parts = split_cell(vectors[rows], cap, settings.seed)
        shards += [rows[parts == part] for part in range(parts.max() + 1)]
    return shards


def _link(graphs: list[ShardGraph], firsts: Array, settings: IndexSettings) -> tuple[list[LinkedShard], list[Forward]]:
    """Each shard searched by the items for which it is among the next nearest."""
    centroids = np.stack([centroid_of(g.vectors) for g in graphs])
    near = [_neighbor_numbers(g.vectors, number, centroids, settings) for number, g in enumerate(graphs)]
    linked, forward = [], []
    for target, graph in enumerate(graphs):
        mine = [np.flatnonzero((numbers == target).any(axis=1)) for numbers in near]
        rows = np.concatenate([m + first for m, first in zip(mine, firsts[:-1], strict=True)]).astype(np.int32)
        queries = np.concatenate([g.vectors[m] for m, g in zip(mine, graphs, strict=True)])
        joined, found = link_shard(graph, int(firsts[target]), rows, queries, settings)
        linked.append(joined)
        forward.append(found)
    return linked, forward


def _neighbor_numbers(vectors: Array, own: int, centroids: Array, settings: IndexSettings) -> Array:
    """[n, neighbor_shards] numbers of the nearest other shards, -1 for no more."""
    nearest = nearest_cells(vectors, centroids, settings.neighbor_shards + 1)
    order = np.argsort(nearest == own, axis=1, kind="stable")
    others = np.take_along_axis(np.where(nearest == own, -1, nearest), order, axis=1)
    return others[:, : settings.neighbor_shards]


def _found_by(forward: list[Forward], low: int, high: int) -> Forward:
    """What the items of rows [low, high) found, in the order of the shards searched."""
    masks = [(f.rows >= low) & (f.rows < high) for f in forward]
    names = ("rows", "candidates", "distances")
    return Forward(*(np.concatenate([getattr(f, n)[m] for f, m in zip(forward, masks, strict=True)]) for n in names))
