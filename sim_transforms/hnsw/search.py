"""Searches a native file with stock NMSLIB."""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw.file_format import read_header
from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.spaces import space_of, too_long

Array = np.ndarray[Any, Any]


class NativeSearcher:
    """An opened index.hnsw.

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
        self._space, self._items, self._dimension = space_of(space), header.items, dimension
        self._index = nmslib.init(method="hnsw", space=self._space.nmslib_space)
        if self._items:
            self._index.loadIndex(str(path), load_data=False)

    def search(self, vectors: Array, k: int, ef_search: int) -> tuple[Array, Array]:
        """Nearest items of [q, d] float32 queries, which are prepared for the space here.

        Returns:
            (rows [q, k] int32, distances [q, k] float32 as the commands show them), nearest first; -1 and infinity
            where there are fewer than k items.

        Raises:
            UsageError: queries of another dimension, not finite or too long, or k or ef_search below 1.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self._dimension:
            raise UsageError(f"queries of shape {vectors.shape} were given; [q, {self._dimension}] is expected")
        prepared = self._space.prepare(vectors)
        if too_long(prepared).any():
            raise UsageError("a query is not finite, or longer than 2^62; distances from it would be infinite or NaN")
        rows, native = self.search_native(prepared, k, ef_search)
        found = self._space.to_distances(np.where(rows >= 0, native, 0))
        return rows, np.where(rows >= 0, found, np.float32(np.inf))

    def search_native(self, vectors: Array, k: int, ef_search: int) -> tuple[Array, Array]:
        """The same for prepared queries, with NMSLIB's own distances."""
        if k < 1 or ef_search < 1:
            raise UsageError(f"k {k} and ef_search {ef_search} were given; at least 1 is expected")
        rows = np.full((len(vectors), k), -1, np.int32)
        distances = np.full((len(vectors), k), np.inf, np.float32)
        if not self._items or not len(vectors):
            return rows, distances
        self._index.setQueryTimeParams({"efSearch": max(ef_search, k)})
        answers = self._index.knnQueryBatch(np.ascontiguousarray(vectors, np.float32), k=k, num_threads=1)
        for place, (found, native) in enumerate(answers):
            rows[place, : len(found)] = found
            distances[place, : len(found)] = native
        return rows, distances
