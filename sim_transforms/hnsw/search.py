"""Searches a native file with stock NMSLIB, or as if a row were not there."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw.file_format import read_header
from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.searcher import Searcher, by_row_among_ties
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.walk import Graph, open_graph, walk

Array = np.ndarray[Any, Any]

# NMSLIB's numbers have 32 bits.
_MOST_WIDTH = 2**31 - 1
# Squared lengths of usual queries.
_FIT = 1e-30, 1e30


class NativeSearcher(Searcher):
    """An opened index.hnsw; not for several threads at once, because NMSLIB's width of the search belongs to the index.

    The header is checked before NMSLIB sees the file, because NMSLIB ends the process on many damaged ones.

    Args:
        path: of the file.
        space: cosine, l2 or inner_product.
        expected_items, dimension: as the version's manifest says.

    Raises:
        DamagedArtefact: the header differs from what is expected.
    """

    def __init__(self, path: Path, space: str, expected_items: int, dimension: int) -> None:
        header = read_header(path)
        found = (header.items, header.dimension if header.items else dimension)
        if found != (expected_items, dimension):
            what = f"{found[0]} items of dimension {found[1]}; expected {expected_items} of {dimension}"
            raise DamagedArtefact(f"{path} holds {what}; fetch it again, or publish a new version")
        if header.items and header.is_inner_product != space_of(space).is_inner_product:
            raise DamagedArtefact(f"{path} was not built for space {space}: its distance type is {header.distance}")
        super().__init__(space_of(space), dimension)
        self._path, self._items = path, header.items
        self._graph: Graph | None = None
        self._width = 0
        self._index = nmslib.init(method="hnsw", space=self._space.nmslib_space)
        if self._items:
            self._index.loadIndex(str(path), load_data=False)

    def search_native(
        self, vectors: Array, k: int, ef_search: int, without: Array | None = None
    ) -> tuple[Array, Array]:
        """The same for prepared queries, with NMSLIB's own distances.

        Raises:
            UsageError: k or ef_search below 1.
            DamagedArtefact: with `without`, which checks the whole file the first time: see `read_index`.
        """
        if k < 1 or ef_search < 1:
            raise UsageError(f"k {k} and ef_search {ef_search} were given; at least 1 is expected")
        rows = np.full((len(vectors), k), -1, np.int32)
        distances = np.full((len(vectors), k), np.inf, np.float32)
        if not self._items or not len(vectors):
            return rows, distances
        if without is not None:
            self._graph = self._graph or open_graph(self._path)
            return walk(self._graph, vectors, without, k, ef_search)
        self._widen(max(ef_search, k))
        answers = self._index.knnQueryBatch(np.ascontiguousarray(vectors, np.float32), k=k, num_threads=1)
        for place, (found, native) in enumerate(answers):
            rows[place, : len(found)] = found
            distances[place, : len(found)] = native
        return rows, distances

    def search_one(self, query: Array, k: int, ef_search: int) -> tuple[Array, list[float]] | None:
        """See `Searcher`; a third of the time of `search`, whose checks and copies cost as much as NMSLIB does."""
        if query.shape != (self._dimension,) or not self._items or k < 1 or ef_search < 1:
            return None
        wide = query.astype(np.float64)
        # One number says that it is neither zero nor too long, and that all of it is finite.
        squares = float(wide.dot(wide))
        if not _FIT[0] < squares < _FIT[1]:
            return None
        if self._space.name == "cosine":
            wide /= math.sqrt(squares)
        self._widen(max(ef_search, k))
        rows, native = self._index.knnQuery(wide.astype(np.float32), k=k)
        distances: list[float] = self._space.to_distances(native).tolist()
        if len(set(distances)) < len(distances):
            rows = by_row_among_ties(rows[None], np.array([distances], np.float32))[0][0]
        return rows, distances

    def _widen(self, width: int) -> None:
        """Tells NMSLIB its ef_search, where it is another than before: that takes as long as a small search."""
        width = min(width, _MOST_WIDTH)
        if width != self._width:
            self._index.setQueryTimeParams({"efSearch": width})
            self._width = width
