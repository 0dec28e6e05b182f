"""NMSLIB, hnswlib and FAISS HNSW: built each in a process of its own, and opened for queries on one thread.

    python -m benchmarks.peers nmslib --vectors x.npy --output x.hnsw [--space l2] [--m 16] [--ef-construction 100]

prints {"build_seconds": the library's build alone, "whole_seconds": from reading the vectors to the written file}.
hnswlib and faiss are no dependencies of Ruiji: `make benchmark-deps` installs them.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]

PEERS = ("nmslib", "hnswlib", "faiss")


@dataclass(frozen=True)
class Recipe:
    """How an HNSW is built; `space` is l2 or inner_product, the meaning of m the same in all libraries."""

    space: str = "l2"
    m: int = 16
    ef_construction: int = 100
    threads: int = 2


class Searcher(Protocol):
    """An opened index."""

    def answers(self, queries: Array, k: int, ef: int) -> Any:
        """What the library gives for [q, d] float32 queries in one batch on one thread; this is what is timed."""

    def rows(self, answers: Any) -> Array:
        """[q, k] positions among the vectors that were indexed, nearest first, -1 where there is none."""


class NmslibSearcher:
    """A native file, of NMSLIB itself or merged by Ruiji.

    Args:
        path: of the file.
        space: l2 or inner_product.
        positions: [n] position of each row of the file among the vectors; the rows themselves where not given.
    """

    def __init__(self, path: Path, space: str, positions: Array | None = None) -> None:
        self._index = _nmslib_index(space)
        self._index.loadIndex(str(path), load_data=False)
        self._positions = positions

    def answers(self, queries: Array, k: int, ef: int) -> Any:
        self._index.setQueryTimeParams({"efSearch": ef})
        return self._index.knnQueryBatch(queries, k=k, num_threads=1)

    def rows(self, answers: Any) -> Array:
        rows = np.full((len(answers), max(len(found) for found, _ in answers)), -1, np.int64)
        for line, (found, _) in zip(rows, answers, strict=True):
            line[: len(found)] = found
        return rows if self._positions is None else np.where(rows >= 0, self._positions[rows], -1)


class HnswlibSearcher:
    """A file of hnswlib."""

    def __init__(self, path: Path, space: str, dimension: int) -> None:
        self._index = _hnswlib_index(space, dimension)
        self._index.load_index(str(path))

    def answers(self, queries: Array, k: int, ef: int) -> Any:
        self._index.set_ef(ef)
        return self._index.knn_query(queries, k=k, num_threads=1)

    def rows(self, answers: Any) -> Array:
        return np.asarray(answers[0], np.int64)


class FaissSearcher:
    """A file of FAISS's IndexHNSWFlat."""

    def __init__(self, path: Path) -> None:
        import faiss

        self._faiss = faiss
        self._index: Any = faiss.read_index(str(path))

    def answers(self, queries: Array, k: int, ef: int) -> Any:
        self._faiss.omp_set_num_threads(1)
        self._index.hnsw.efSearch = ef
        return self._index.search(queries, k)

    def rows(self, answers: Any) -> Array:
        return np.asarray(answers[1], np.int64)


def open_peer(name: str, path: Path, space: str, dimension: int) -> Searcher:
    """Opens what `build_peer` wrote."""
    if name == "nmslib":
        return NmslibSearcher(path, space)
    return HnswlibSearcher(path, space, dimension) if name == "hnswlib" else FaissSearcher(path)


def build_peer(name: str, vectors: Array, recipe: Recipe, path: Path) -> float:
    """Builds an index of [n, d] float32 and writes it; gives the seconds of the library's build, without writing."""
    builders = {"nmslib": _build_nmslib, "hnswlib": _build_hnswlib, "faiss": _build_faiss}
    return builders[name](vectors, recipe, path)


def missing_peers(names: Sequence[str]) -> list[str]:
    """Those that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def _nmslib_index(space: str) -> Any:
    from sim_transforms.hnsw.native import nmslib
    from sim_transforms.hnsw.spaces import space_of

    return nmslib.init(method="hnsw", space=space_of(space).nmslib_space)


def _hnswlib_index(space: str, dimension: int) -> Any:
    import hnswlib

    return hnswlib.Index("ip" if space == "inner_product" else "l2", dimension)


def _build_nmslib(vectors: Array, recipe: Recipe, path: Path) -> float:
    index = _nmslib_index(recipe.space)
    began = time.perf_counter()
    index.addDataPointBatch(vectors)
    parameters = {"M": recipe.m, "efConstruction": recipe.ef_construction, "indexThreadQty": recipe.threads, "post": 0}
    index.createIndex(parameters)
    seconds = time.perf_counter() - began
    index.saveIndex(str(path), save_data=False)
    return seconds


def _build_hnswlib(vectors: Array, recipe: Recipe, path: Path) -> float:
    index = _hnswlib_index(recipe.space, vectors.shape[1])
    began = time.perf_counter()
    index.init_index(len(vectors), M=recipe.m, ef_construction=recipe.ef_construction)
    index.add_items(vectors, num_threads=recipe.threads)
    seconds = time.perf_counter() - began
    index.save_index(str(path))
    return seconds


def _build_faiss(vectors: Array, recipe: Recipe, path: Path) -> float:
    import faiss

    faiss.omp_set_num_threads(recipe.threads)
    metric = faiss.METRIC_INNER_PRODUCT if recipe.space == "inner_product" else faiss.METRIC_L2
    index = faiss.IndexHNSWFlat(vectors.shape[1], recipe.m, metric)
    index.hnsw.efConstruction = recipe.ef_construction
    began = time.perf_counter()
    index.add(vectors)
    seconds = time.perf_counter() - began
    faiss.write_index(index, str(path))
    return seconds


def main(argv: Sequence[str]) -> None:
    """Builds one peer and prints its seconds as JSON."""
    parser = argparse.ArgumentParser(description="Builds an index with another library.")
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("--vectors", type=Path, required=True, help=".npy, [n, d] float32")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--space", choices=("l2", "inner_product"), default="l2")
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(argv)
    recipe = Recipe(given.space, given.m, given.ef_construction, given.threads)
    if missing_peers([given.name]):
        raise SystemExit(f"{given.name} is not installed: make benchmark-deps")
    importlib.import_module(given.name)  # its import is no part of its build
    began = time.perf_counter()
    seconds = build_peer(given.name, np.load(given.vectors), recipe, given.output)
    print(json.dumps({"build_seconds": seconds, "whole_seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(sys.argv[1:])
