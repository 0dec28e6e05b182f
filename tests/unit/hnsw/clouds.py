"""Seeded vectors that look like embeddings: clusters of different weight."""

from typing import Any

import numpy as np

from sim_transforms.hnsw.build import ShardGraph, build_shard
from sim_transforms.hnsw.cells import arrange
from sim_transforms.hnsw.file_format import NativeIndex
from sim_transforms.hnsw.levels import draw_levels, of_distinct
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


def clustered(count: int, dimension: int, seed: int = 0, spread: float = 0.6) -> Array:
    """[count, dimension] float32 around 40 centres; the centres are the same for every seed."""
    centres = np.random.default_rng(99).normal(size=(40, dimension))
    generator = np.random.default_rng(seed)
    noise = spread * generator.normal(size=(count, dimension))
    return (centres[generator.integers(0, len(centres), count)] + noise).astype(np.float32)


def wide_distances(space: str, queries: Array, base: Array) -> Array:
    """Native distances in float64 and without a matrix product: the oracle. Vectors as prepared for the space."""
    a, b = queries.astype(np.float64)[:, None], base.astype(np.float64)[None]
    return -(a * b).sum(axis=2) if space == "inner_product" else ((a - b) ** 2).sum(axis=2)


def nearest_rows(space: str, queries: Array, base: Array, k: int) -> Array:
    """[q, k] rows of the exact neighbours, nearest first."""
    return np.argsort(wide_distances(space, queries, base), axis=1, kind="stable")[:, :k]


def recall(found: Array, exact: Array) -> float:
    """Share of the exact neighbours that were found."""
    hits = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, exact, strict=True)]
    return sum(hits) / exact.size


def shard_of_all(vectors: Array, settings: IndexSettings) -> ShardGraph:
    """One shard of [n, d] vectors as prepared for the space, built in the order of its cells."""
    order, cells = arrange(vectors, space_of(settings.space))
    levels = draw_levels([str(row) for row in range(len(vectors))], settings.m, settings.seed)
    return build_shard(vectors[order], cells, of_distinct(levels[order], cells.distinct), settings)


def reachable(index: NativeIndex) -> set[int]:
    """Rows that a walk along layer 0 reaches from the entry point."""
    reached, pending = set(), [index.header.entry_row] if index.header.items else []
    while pending:
        row = pending.pop()
        if row not in reached:
            reached.add(row)
            record = index.records[row]
            pending += record["links"][: record["count"]].tolist()
    return reached
