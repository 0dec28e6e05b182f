"""The index made in memory by the pure functions, one after the other: the oracle for the Beam stages."""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.build import build_shard
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, upper_bytes
from sim_transforms.hnsw.link import Forward, link_shard
from sim_transforms.hnsw.merge import build_upper, merge_links
from sim_transforms.hnsw.partition import centroid_of, fit_centroids, nearest_cells, split_cell
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import no_upper_layers
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


def plain_index(vectors: Array, settings: IndexSettings, path: Path) -> Array:
    """Writes `path`; gives [n] the position in `vectors` of each row."""
    vectors = space_of(settings.space).prepare(vectors)
    shards = _shards(vectors, settings)
    if not shards:
        path.write_bytes(header_bytes(0, vectors.shape[1], settings, no_upper_layers()))
        return np.zeros(0, int)
    graphs = [build_shard(vectors[rows], settings) for rows in shards]
    firsts = np.concatenate([[0], np.cumsum([len(s) for s in shards])]).astype(int)
    linked, forward = _link(graphs, firsts, settings)
    records = []
    for number, graph in enumerate(graphs):
        parts = [_mine(f, firsts[number], firsts[number + 1]) for f in forward]
        joined = Forward(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("rows", "candidates", "distances")))
        records.append(record_bytes(graph.vectors, int(firsts[number]), merge_links(linked[number], joined, settings)))
    above = np.concatenate([np.flatnonzero(g.levels >= 1) + f for g, f in zip(graphs, firsts, strict=False)])
    everything = np.concatenate([g.vectors for g in graphs])
    upper = build_upper(above.astype(np.int32), everything[above], settings)
    blocks = [upper_bytes(int(f), len(g.vectors), upper, settings) for g, f in zip(graphs, firsts, strict=False)]
    path.write_bytes(b"".join([header_bytes(len(vectors), vectors.shape[1], settings, upper), *records, *blocks]))
    return np.concatenate(shards)


def _shards(vectors: Array, settings: IndexSettings) -> list[Array]:
    centroids = fit_centroids(vectors, len(vectors), settings.shard_items, settings.seed)
    cells = nearest_cells(vectors, centroids, 1)[:, 0]
    shards = []
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        parts = split_cell(vectors[rows], settings.shard_items, settings.seed)
        shards += [rows[parts == part] for part in range(parts.max() + 1)]
    return shards


def _link(graphs: list[Any], firsts: Array, settings: IndexSettings) -> tuple[list[Any], list[Forward]]:
    centroids = np.stack([centroid_of(g.vectors) for g in graphs])
    linked, forward = [], []
    near = [nearest_cells(g.vectors, centroids, settings.neighbor_shards + 1) for g in graphs]
    for target, graph in enumerate(graphs):
        rows, queries = [np.zeros(0, np.int32)], [np.zeros((0, graph.vectors.shape[1]), np.float32)]
        for source, other in enumerate(graphs):
            if source == target:
                continue
            ranked = [[c for c in row if c != source][: settings.neighbor_shards] for row in near[source]]
            mine = np.array([i for i, row in enumerate(ranked) if target in row], int)
            rows.append((mine + firsts[source]).astype(np.int32))
            queries.append(other.vectors[mine])
        a, b = link_shard(graph, int(firsts[target]), np.concatenate(rows), np.concatenate(queries), settings)
        linked.append(a)
        forward.append(b)
    return linked, forward


def _mine(forward: Forward, low: int, high: int) -> Forward:
    mine = (forward.rows >= low) & (forward.rows < high)
    return Forward(forward.rows[mine], forward.candidates[mine], forward.distances[mine])
