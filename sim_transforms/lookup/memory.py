"""A small index in memory, to add to and to search while one tries things out: exact, no file, no graph.

For what is published, larger than some hundred thousand items, or searched by several processes: `open_version`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim_transforms.errors import NotFound, UsageError
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.lookup.open import Match

Array = np.ndarray[Any, Any]

# Distances that are held at once.
_BLOCK = 16 * 2**20


class MemoryIndex:
    """Items that are added and searched at once; distances are those that the commands show.

    Args:
        dimension: of the vectors.
        space: cosine, l2 or inner_product.
    """

    def __init__(self, dimension: int, space: str = "cosine") -> None:
        """Holds nothing."""
        self._space = space_of(space)
        self._dimension = dimension
        self._vectors = np.empty((0, dimension), np.float32)
        self._count = 0
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._metadata: list[dict[str, Any]] = []

    def __len__(self) -> int:
        """Items."""
        return self._count

    def __contains__(self, item_id: str) -> bool:
        """Whether an item is there."""
        return item_id in self._places

    def add(
        self, vectors: Array, ids: Sequence[str] | None = None, metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> list[str]:
        """Adds items; one whose id is there takes its place.

        Args:
            vectors: [n, dimension] numbers.
            ids: n texts; the numbers from the items that are there on where not given.
            metadata: n mappings, shown with what is found.

        Returns:
            The ids.

        Raises:
            UsageError: shapes or counts that do not go together, an id twice, a vector that the space does not take.
                Nothing is added then.
        """
        prepared = self._checked(vectors)
        names = [str(self._count + place) for place in range(len(prepared))] if ids is None else list(map(str, ids))
        described = [{} for _ in names] if metadata is None else [dict(entry) for entry in metadata]
        if not len(names) == len(described) == len(prepared):
            found = f"{len(prepared)} vectors, {len(names)} ids and {len(described)} metadata"
            raise UsageError(f"{found}: as many of each are expected")
        if len(set(names)) != len(names):
            raise UsageError(f"ids: {next(name for name in names if names.count(name) > 1)!r} stands twice")
        for name, vector, entry in zip(names, prepared, described, strict=True):
            self._put(name, vector, entry)
        return names

    def search(self, vectors: Array, k: int = 10) -> list[list[Match]]:
        """The k nearest of each query, nearest first; of equal ones the first added.

        Args:
            vectors: [q, dimension], or [dimension] of one.
            k: at least 1.

        Raises:
            UsageError: wrong shape, numbers that are not finite, or k below 1.
        """
        if k < 1:
            raise UsageError(f"k: found {k}; at least 1 is expected")
        queries = self._checked(vectors)
        step = max(1, _BLOCK // max(1, self._count))
        return [
            found for start in range(0, len(queries), step) for found in self._nearest(queries[start : start + step], k)
        ]

    def vector(self, item_id: str) -> Array:
        """[dimension] float32 of an item, of unit length in the space cosine.

        Raises:
            NotFound: no such item.
        """
        if item_id not in self._places:
            raise NotFound(f"item {item_id!r} is not in this index")
        return self._vectors[self._places[item_id]].copy()

    def _checked(self, vectors: Array) -> Array:
        values = np.asarray(vectors, np.float32)
        values = values[None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] != self._dimension:
            raise UsageError(f"vectors: found shape {np.shape(vectors)}; [n, {self._dimension}] is expected")
        for row, reason in enumerate(self._space.reject_reasons(values)):
            if reason is not None:
                raise UsageError(f"vectors: row {row}: {reason}")
        return self._space.prepare(values)

    def _put(self, name: str, vector: Array, entry: dict[str, Any]) -> None:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = self._count
            if place == len(self._vectors):
                more = np.empty((max(64, 2 * place), self._dimension), np.float32)
                more[:place] = self._vectors
                self._vectors = more
            self._count += 1
            self._ids.append(name)
            self._metadata.append(entry)
        self._vectors[place], self._metadata[place] = vector, entry

    def _nearest(self, queries: Array, k: int) -> list[list[Match]]:
        base = self._vectors[: self._count]
        distances = self._space.to_distances(self._space.native_distances(queries, base))
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return [
            [Match(self._ids[place], float(row[place]), dict(self._metadata[place])) for place in places]
            for row, places in zip(distances, order, strict=True)
        ]
