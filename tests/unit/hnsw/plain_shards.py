"""Shards that stay apart, made in memory by the pure functions: the oracle for the routed layout."""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph, build_shard
from sim_transforms.hnsw.cells import Cells, arrange
from sim_transforms.hnsw.levels import draw_levels, of_distinct
from sim_transforms.hnsw.merge import write_shard_file
from sim_transforms.hnsw.partition import centroid_of
from sim_transforms.hnsw.routed import RoutedIndex, RoutedShard, points_of
from sim_transforms.hnsw.spaces import longest_of, space_of
from sim_transforms.hnsw.whole import shard_rows
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.checksums import file_entry

Array = np.ndarray[Any, Any]


def plain_shards(
    vectors: Array, settings: IndexSettings, folder: Path, item_ids: list[str] | None = None
) -> tuple[RoutedIndex, Array]:
    """Writes `folder/shards/<number>.hnsw` and the arrays; gives the index and each row's position in `vectors`."""
    space = space_of(settings.space)
    vectors = space.prepare(vectors)
    ids = item_ids or [str(position) for position in range(len(vectors))]
    levels = draw_levels(ids, settings.m, settings.seed)
    shards, graphs = [], []
    for rows in shard_rows(space.places(vectors), ids, settings) if len(vectors) else []:
        order, cells = arrange(vectors[rows], space)
        shards.append(rows[order])
        own = of_distinct(levels[rows[order]], cells.distinct)
        graphs.append(build_shard(vectors[rows[order]], cells, own, settings))
    return write_shards(graphs, settings, folder), np.concatenate([np.zeros(0, int), *shards])


def write_shards(graphs: list[ShardGraph], settings: IndexSettings, folder: Path) -> RoutedIndex:
    """The files of graphs whose vectors are prepared."""
    (folder / "shards").mkdir(parents=True)
    space, routed, first = space_of(settings.space), [], 0
    for number, graph in enumerate(graphs):
        name = f"shards/{number:06d}.hnsw"
        write_shard_file(graph, folder / name, settings)
        routed.append(RoutedShard(folder / name, first, len(graph.vectors), file_entry(folder, name)))
        first += len(graph.vectors)
    centroids = np.stack([centroid_of(space.places(g.vectors)) for g in graphs])
    longest = np.array([longest_of(g.vectors) for g in graphs], np.float32)
    np.save(folder / "centroids.npy", centroids)
    np.save(folder / "longest.npy", longest)
    points = points_of(centroids, longest if space.is_inner_product else None)
    return RoutedIndex(routed, points, settings.space, graphs[0].vectors.shape[1])


def ring(items: int, dimension: int, m: int, seed: int) -> ShardGraph:
    """A shard that is made at once, however large: each item linked to those beside it, no upper layers."""
    vectors = np.random.default_rng(seed).normal(seed, 1.0, (items, dimension)).astype(np.float32)
    links = np.full((items, 2 * m), -1, np.int32)
    rows = np.arange(items)
    links[:, 0], links[:, 1] = (rows + 1) % items, (rows - 1) % items
    cells = Cells(vectors[:1], np.array([0, items]), np.zeros(0, np.int32))
    return ShardGraph(vectors, cells, np.zeros(items, np.int8), links, np.zeros((items, 0), np.int32))
