"""Layer 0 of one shard inside the merged graph; and a shard as a file of its own."""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph
from sim_transforms.hnsw.build_upper import build_upper
from sim_transforms.hnsw.connect import connect
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, upper_bytes
from sim_transforms.hnsw.kernels import merge_nearest, put_far
from sim_transforms.hnsw.levels import highest
from sim_transforms.hnsw.link import Forward, LinkedShard
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import UpperLayers
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


def merge_links(linked: LinkedShard, forward: Forward) -> Array:
    """[n, 2 m] int32 global rows, nearest first, padded with -1.

    Own and incoming links were cut jointly, cross links within the shard they came from; the nearest 2 m of both stay
    (measured: local cuts keep the recall of a single build; a joint cut would need all vectors here).

    Args:
        linked: the shard's own and incoming links.
        forward: what its items found in other shards, in any order.
    """
    order = np.argsort(forward.rows, kind="stable")
    return merge_nearest(
        linked.links,
        linked.distances,
        forward.rows[order].astype(np.int32),
        np.ascontiguousarray(forward.candidates[order], dtype=np.int32),
        np.ascontiguousarray(forward.distances[order], dtype=np.float32),
        linked.first_row,
    )


def merge_shard(linked: LinkedShard, forward: Forward, graph: ShardGraph, anchors: Array, space: str) -> Array:
    """`merge_links`, with the shard's far links and every row in reach of its root.

    Args:
        linked, forward: as there.
        graph: of the shard.
        anchors: [a] int32 roots of other shards that this one's root links to (`connect.anchors_of`).
        space: of the index.
    """
    links = merge_links(linked, forward)
    put_far(links, np.where(graph.far >= 0, graph.far + linked.first_row, -1).astype(np.int32))
    inner_product = space_of(space).is_inner_product
    connect(links, graph.vectors, highest(graph.levels), anchors, linked.first_row, inner_product)
    return links


def upper_of(graph: ShardGraph, first_row: int) -> tuple[Array, Array, Array]:
    """(rows [u] int32 global, vectors [u, d] float32, levels [u] int8) of a shard's items of level >= 1."""
    rows = np.flatnonzero(graph.levels >= 1)
    return (rows + first_row).astype(np.int32), graph.vectors[rows], graph.levels[rows]


def write_shard_file(graph: ShardGraph, path: Path, settings: IndexSettings) -> None:
    """Writes a shard as a whole native file of its own, its rows from 0; n >= 1 items."""
    links = graph.links.copy()
    put_far(links, graph.far)
    inner_product = space_of(settings.space).is_inner_product
    connect(links, graph.vectors, highest(graph.levels), np.zeros(0, np.int32), 0, inner_product)
    upper = build_upper(*upper_of(graph, 0), settings)
    write_file(path, [(graph.vectors, links)], upper, settings)


def write_file(path: Path, shards: list[tuple[Array, Array]], upper: UpperLayers, settings: IndexSettings) -> None:
    """Writes a native file of shards in row order, each (vectors [n, d] float32, links [n, 2 m] int32 global)."""
    firsts = np.concatenate([[0], np.cumsum([len(vectors) for vectors, _ in shards])])
    dimension = shards[0][0].shape[1] if shards else 1
    with path.open("wb") as file:
        file.write(header_bytes(int(firsts[-1]), dimension, settings, upper))
        for first, (vectors, links) in zip(firsts, shards, strict=False):
            file.write(record_bytes(vectors, int(first), links))
        for first, (vectors, _) in zip(firsts, shards, strict=False):
            file.write(upper_bytes(int(first), len(vectors), upper, settings))
