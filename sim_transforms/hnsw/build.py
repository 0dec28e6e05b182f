"""One shard's HNSW, built by NMSLIB so that the same vectors give the same graph everywhere.

NMSLIB's generator of levels is local to a thread and goes on from build to build: hence one thread, made for this
build.
"""

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.file_format import NativeIndex, read_index
from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ShardGraph:
    """A shard before linking.

    Attributes:
        vectors: [n, d] float32, prepared for the space.
        links: [n, 2 m] int32 local rows, padded with -1: layer 0.
        levels: [n] int32, highest level that NMSLIB drew for each item.
    """

    vectors: Array
    links: Array
    levels: Array


def build_shard(vectors: Array, settings: IndexSettings) -> ShardGraph:
    """Builds the graph of [n, d] prepared vectors; n = 0 gives an empty graph."""
    if not len(vectors):
        return ShardGraph(vectors, np.zeros((0, 2 * settings.m), np.int32), np.zeros(0, np.int32))
    index = build_native(vectors, settings, settings.m * 2)
    return ShardGraph(vectors, layer0(index), index.levels)


def build_native(vectors: Array, settings: IndexSettings, max_m0: int) -> NativeIndex:
    """NMSLIB's own build of n >= 1 vectors, read back; `max_m0` is the cap on links in layer 0."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.hnsw"
        failures: list[BaseException] = []
        thread = threading.Thread(target=_build, args=(vectors, settings, max_m0, path, failures))
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        index = read_index(path)
        return NativeIndex(index.header, np.array(index.records), index.levels, index.upper, index.starts)


def _build(vectors: Array, settings: IndexSettings, max_m0: int, path: Path, failures: list[BaseException]) -> None:
    try:
        index = nmslib.init(method="hnsw", space=space_of(settings.space).nmslib_space)
        index.addDataPointBatch(vectors)
        parameters = {"M": settings.m, "maxM0": max_m0, "efConstruction": settings.ef_construction}
        index.createIndex({**parameters, "indexThreadQty": 1, "post": 0})
        index.saveIndex(str(path), save_data=False)
    except BaseException as error:
        failures.append(error)


def layer0(index: NativeIndex) -> Array:
    """[n, maxM0] int32 links of layer 0, padded with -1."""
    links = np.array(index.records["links"])
    unused = np.arange(links.shape[1])[None, :] >= index.records["count"][:, None]
    links[unused] = -1
    return links


def save_graph(graph: ShardGraph, path: Path) -> None:
    """Writes an .npz file; its bytes depend on the graph alone."""
    # Through a file: given a path, numpy adds .npz to a name that lacks it.
    with path.open("wb") as file:
        np.savez(file, vectors=graph.vectors, links=graph.links, levels=graph.levels)


def load_graph(path: Path) -> ShardGraph:
    """Reads what `save_graph` wrote."""
    with np.load(path) as arrays:
        return ShardGraph(arrays["vectors"], arrays["links"], arrays["levels"])
