"""Seeded vectors that look like embeddings: clusters of different weight."""

from typing import Any

import numpy as np

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
