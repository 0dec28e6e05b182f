"""A small index in memory, to add to and to search while one tries things out: exact, no file, no graph.

For what is published, larger than some hundred thousand items, or searched by several processes: `open_version`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim_transforms.errors import NotFound, UsageError
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.lookup.filtered import compare_all
from sim_transforms.lookup.open import Match

Array = np.ndarray[Any, Any]


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
            ids: n texts; where not given, the numbers that follow the count of items.
            metadata: n mappings, shown with what is found.

        Returns:
            The ids.

        Raises:
            UsageError: shapes or counts that do not go together, an id twice, a vector that the space does not take.
                Nothing is added then.
        """
        prepared = self._checked(vectors)
        names = self._numbered(len(prepared)) if ids is None else list(map(str, ids))
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
        """The k nearest of each query, nearest first.

        Args:
            vectors: [q, dimension], or [dimension] of one.
            k: at least 1.

        Raises:
            UsageError: wrong shape, numbers that are not finite, or k below 1.
        """
        if k < 1:
            raise UsageError(f"k: found {k}; at least 1 is expected")
        return self._nearest(self._checked(vectors), k)

    def vector(self, item_id: str) -> Array:
        """[dimension] float32 of an item, of unit length in the space cosine.

        Raises:
            NotFound: no such item.
        """
        if item_id not in self._places:
            raise NotFound(f"item {item_id!r} is not in this index")
        return self._vectors[self._places[item_id]].copy()

    def _numbered(self, count: int) -> list[str]:
        names = [str(number) for number in range(self._count, self._count + count)]
        taken = next((name for name in names if name in self._places), None)
        if taken is not None:
            raise UsageError(f"ids: {taken!r}, the next number, is an item already; give ids")
        return names

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
        places = np.arange(self._count, dtype=np.int32)
        found, native = compare_all(queries, k, places, lambda rows: self._vectors[rows], self._space)
        return [
            [
                Match(self._ids[place], float(distance), dict(self._metadata[place]))
                for place, distance in zip(row, distances, strict=True)
                if place >= 0
            ]
            for row, distances in zip(found, self._space.to_distances(native), strict=True)
        ]
