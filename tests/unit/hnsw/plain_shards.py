"""Shards that stay apart, made in memory by the pure functions: the oracle for the routed layout."""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph, build_shard
from sim_transforms.hnsw.merge import write_shard_file
from sim_transforms.hnsw.partition import centroid_of, fit_centroids, nearest_cells, split_cell
from sim_transforms.hnsw.routed import RoutedIndex, RoutedShard
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.checksums import file_entry

Array = np.ndarray[Any, Any]


def plain_shards(vectors: Array, settings: IndexSettings, folder: Path) -> tuple[RoutedIndex, Array]:
    """Writes `folder/shards/<number>.hnsw`; gives the index and [n] the position in `vectors` of each row."""
    vectors = space_of(settings.space).prepare(vectors)
    shards = _cut(vectors, settings)
    graphs = [build_shard(vectors[rows], settings) for rows in shards]
    order = np.concatenate([np.zeros(0, int), *shards])
    return write_shards(graphs, settings, folder), order


def write_shards(graphs: list[ShardGraph], settings: IndexSettings, folder: Path) -> RoutedIndex:
    """The files of graphs whose vectors are prepared."""
    (folder / "shards").mkdir(parents=True)
    routed, first = [], 0
    for number, graph in enumerate(graphs):
        name = f"shards/{number:06d}.hnsw"
        write_shard_file(graph, folder / name, settings)
        routed.append(RoutedShard(folder / name, first, len(graph.vectors), file_entry(folder, name)))
        first += len(graph.vectors)
    dimension = graphs[0].vectors.shape[1] if graphs else 3
    centroids = np.stack([centroid_of(g.vectors) for g in graphs]) if graphs else np.zeros((0, 0), np.float32)
    return RoutedIndex(routed, centroids, settings.space, dimension)


def _cut(vectors: Array, settings: IndexSettings) -> list[Array]:
    centroids = fit_centroids(vectors, len(vectors), settings.shard_items, settings.seed)
    cells = nearest_cells(vectors, centroids, 1)[:, 0] if len(vectors) else np.zeros(0, int)
    shards = []
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        parts = split_cell(vectors[rows], settings.shard_items, settings.seed)
        shards += [rows[parts == part] for part in range(parts.max() + 1)]
    return shards


def ring(items: int, dimension: int, m: int, seed: int) -> ShardGraph:
    """A shard that is made at once, however large: each item linked to those beside it, no upper layers."""
    vectors = np.random.default_rng(seed).normal(seed, 1.0, (items, dimension)).astype(np.float32)
    links = np.full((items, 2 * m), -1, np.int32)
    rows = np.arange(items)
    links[:, 0], links[:, 1] = (rows + 1) % items, (rows - 1) % items
    return ShardGraph(vectors, links, np.zeros(items, np.int32))
