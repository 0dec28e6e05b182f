"""Vectors of a published version by row, read where they lie: in `index.hnsw`, or in the file of each shard."""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.file_format import map_vectors
from sim_transforms.hnsw.open_index import MERGED, routed_shards
from sim_transforms.records.manifests import VersionManifest

Array = np.ndarray[Any, Any]


class VersionVectors:
    """Memory-mapped, each file when it is first read from.

    Args:
        folder: of the version's files.
        manifest: of the version.

    Raises:
        DamagedArtefact: shard files and row ranges do not belong together.
    """

    def __init__(self, folder: Path, manifest: VersionManifest) -> None:
        if manifest.index is not None:
            self._files, firsts = [folder / MERGED], [0]
        else:
            shards = routed_shards(folder, manifest)
            self._files, firsts = [shard.path for shard in shards], [shard.first_row for shard in shards]
        self._firsts = np.array(firsts, np.int64)
        self._maps: list[Array | None] = [None] * len(self._files)
        self._dimension = manifest.dimension

    def at(self, rows: Array) -> Array:
        """[n, d] float32, contiguous, of [n] rows in any order.

        Raises:
            DamagedArtefact: a file is missing, or its header is not what it should be.
        """
        files = np.searchsorted(self._firsts, rows, side="right") - 1
        vectors = np.empty((len(rows), self._dimension), np.float32)
        for number in np.unique(files):
            chosen = files == number
            vectors[chosen] = self._map(int(number))[rows[chosen] - self._firsts[number]]
        return vectors

    def _map(self, number: int) -> Array:
        known = self._maps[number]
        if known is None:
            known = self._maps[number] = map_vectors(self._files[number])
        return known
