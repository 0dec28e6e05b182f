"""Own, reverse and cross links of a shard -> its links in the merged graph; and the upper layers of all shards."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph, build_native, layer0
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, upper_bytes
from sim_transforms.hnsw.kernels import merge_nearest
from sim_transforms.hnsw.upper import UpperLayers, no_upper_layers
from sim_transforms.settings.stages import IndexSettings

if TYPE_CHECKING:
    from sim_transforms.hnsw.link import Forward, LinkedShard

Array = np.ndarray[Any, Any]


def merge_links(linked: "LinkedShard", forward: "Forward", settings: IndexSettings) -> Array:
    """[n, 2 m] int32 global rows, nearest first, padded with -1.

    Own and incoming links were cut jointly, cross links within the shard they came from; the nearest 2 m of both stay
    (measured in the prototypes: local cuts keep the recall of a single build, a joint cut would need all vectors here).
    """
    assert linked.links.shape[1] == 2 * settings.m
    order = np.argsort(forward.rows, kind="stable")
    return merge_nearest(
        linked.links,
        linked.distances,
        forward.rows[order].astype(np.int32),
        np.ascontiguousarray(forward.candidates[order], dtype=np.int32),
        np.ascontiguousarray(forward.distances[order], dtype=np.float32),
        linked.first_row,
    )


def build_upper(rows: Array, vectors: Array, settings: IndexSettings) -> UpperLayers:
    """Upper layers as one small HNSW: its layer 0 is layer 1 of the merged graph.

    Args:
        rows: [u] int32 global rows of the items of level >= 1, ascending.
        vectors: [u, d] float32 prepared.
        settings: of the index.
    """
    if not len(rows):
        return no_upper_layers()
    index = build_native(vectors, settings, settings.m)
    width = settings.m + 1
    levels = (index.levels + 1).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(levels.astype(np.int64) * width)])
    words = np.zeros(int(starts[-1]), np.int32)
    base = layer0(index)
    for place in range(len(rows)):
        _write_levels(words[starts[place] : starts[place + 1]].reshape(-1, width), base[place], index, place, rows)
    return UpperLayers(int(levels.max()), int(rows[index.header.entry_row]), rows, levels, words, starts[:-1])


def write_shard_file(graph: ShardGraph, path: Path, settings: IndexSettings) -> None:
    """Writes one shard as a whole native file of its own, its rows counted from 0."""
    items, dimension = graph.vectors.shape
    above = np.flatnonzero(graph.levels >= 1).astype(np.int32)
    upper = build_upper(above, graph.vectors[above], settings)
    with path.open("wb") as file:
        file.write(header_bytes(items, dimension, settings, upper))
        file.write(record_bytes(graph.vectors, 0, graph.links))
        file.write(upper_bytes(0, items, upper, settings))


def _write_levels(out: Array, base: Array, index: Any, place: int, rows: Array) -> None:
    """Fills the [level, m + 1] words of one item with global rows."""
    own = base[base >= 0]
    out[0, 0], out[0, 1 : 1 + len(own)] = len(own), rows[own]
    width = out.shape[1]
    for level in range(1, len(out)):
        start = index.starts[place] + (level - 1) * width
        count = index.upper[start]
        out[level, 0] = count
        out[level, 1 : 1 + count] = rows[index.upper[start + 1 : start + 1 + count]]
