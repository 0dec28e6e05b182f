"""What all opened indexes have in common: how queries are checked and distances shown."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from sim_transforms.errors import UsageError
from sim_transforms.hnsw.spaces import Space, too_long

Array = np.ndarray[Any, Any]


class Searcher(ABC):
    """An opened index.

    Args:
        space: of the index.
        dimension: of its vectors.
    """

    def __init__(self, space: Space, dimension: int) -> None:
        self._space, self._dimension = space, dimension

    def search(self, vectors: Array, k: int, ef_search: int, without: Array | None = None) -> tuple[Array, Array]:
        """Nearest items of [q, d] float32 queries, which are prepared for the space here.

        Args:
            vectors: the queries.
            k: items wanted.
            ef_search: width of the beam.
            without: [q] int32 a row for each query that its search must not touch, as if it had never been indexed
                (`walk`); -1 for none. Null: as look-ups search.

        Returns:
            (rows [q, k] int32, distances [q, k] float32 as the commands show them), nearest first, those of the same
            distance by row; -1 and infinity where there are fewer than k items.

        Raises:
            UsageError: queries of another dimension, not finite or too long, or k or ef_search below 1.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self._dimension:
            raise UsageError(f"queries of shape {vectors.shape} were given; [q, {self._dimension}] is expected")
        prepared = self._space.prepare(vectors)
        if too_long(prepared).any():
            raise UsageError("a query is not finite, or longer than 2^62; distances from it would be infinite or NaN")
        rows, native = self.search_native(prepared, k, ef_search, without)
        found = self._space.to_distances(np.where(rows >= 0, native, 0))
        return by_row_among_ties(rows, np.where(rows >= 0, found, np.float32(np.inf)))

    def search_one(self, query: Array, k: int, ef_search: int) -> tuple[Array, list[float]] | None:
        """The same for a query alone, by a way that is short where there is one: most of what look-ups are asked.

        Args:
            query: [d], of any kind.
            k: items wanted.
            ef_search: width of the beam.

        Returns:
            (rows [at most k] int32, their distances as the commands show them), nearest first. The last bits may be
            others than among many queries. Null where `search` must be asked, which says what is wrong too.
        """
        return None

    @abstractmethod
    def search_native(
        self, vectors: Array, k: int, ef_search: int, without: Array | None = None
    ) -> tuple[Array, Array]:
        """The same for prepared queries, with NMSLIB's own distances."""


def by_row_among_ties(rows: Array, distances: Array) -> tuple[Array, Array]:
    """[q, k] rows and distances, nearest first: those of the same distance ascending by row.

    NMSLIB orders them by their addresses in memory, which differ from process to process.
    """
    if not (distances[:, 1:] == distances[:, :-1]).any():
        return rows, distances
    order = np.lexsort((rows, distances))
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)
