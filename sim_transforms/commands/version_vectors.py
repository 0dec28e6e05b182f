"""Ids and vectors of a published version, by place in its items table; vectors are read where they lie."""

from typing import Any

import numpy as np
import pyarrow as pa

from sim_transforms.hnsw.file_format import map_vectors
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.storage.versions import INDEX

Array = np.ndarray[Any, Any]


def ids_of(opened: OpenVersion) -> pa.Array:
    """[n] large_string, the ids of all items."""
    return opened.items.column("item_id").cast(pa.large_string()).combine_chunks()


class VersionVectors:
    """Vectors of a version by place in its items table, memory-mapped file by file."""

    def __init__(self, opened: OpenVersion) -> None:
        manifest = opened.manifest
        names = [INDEX] if manifest.index is not None else [entry.name for entry in manifest.shard_files]
        self._maps = [map_vectors(opened.folder / name) for name in names]
        firsts = [0] if manifest.index is not None else [rows.first_row for rows in manifest.row_ranges]
        self._firsts = np.array(firsts, np.int64)
        self._rows = opened.items.column("row").to_numpy()
        self._dimension = manifest.dimension

    def at(self, places: Array) -> Array:
        """[n, d] float32, contiguous, of [n] places."""
        rows = self._rows[places].astype(np.int64)
        files = np.searchsorted(self._firsts, rows, side="right") - 1
        vectors = np.empty((len(rows), self._dimension), np.float32)
        for number in np.unique(files):
            chosen = files == number
            vectors[chosen] = self._maps[number][rows[chosen] - self._firsts[number]]
        return vectors
