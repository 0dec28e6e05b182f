"""Reads examples by their places: single reads at offsets, nothing kept in memory.

Not memory maps: the pages of a map count as the process's own, so that it would seem to grow with the catalog.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.storage.scattered import read_payloads
from trainer.places import Places

Array = np.ndarray[Any, Any]


class RecordReader:
    """Reads records of TFRecord files, a file a shard; files stay open until `close`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Opens nothing yet."""
        self._paths = [str(path) for path in paths]
        self._descriptors: dict[int, int] = {}

    @classmethod
    def of_examples(cls, examples: Path, manifest: ExamplesManifest) -> Self:
        """Reads those of an examples folder."""
        return cls([examples / manifest.example_file(shard) for shard in range(manifest.shards)])

    def read(self, places: Places, row: int) -> bytes:
        """Serialised example of a row; raises DamagedArtefact where its checksum differs."""
        return self.read_all(places, np.array([row]))[0]

    def read_all(self, places: Places, rows: Array) -> list[bytes]:
        """Serialised examples of [b] rows, in their order; raises DamagedArtefact where a checksum differs."""
        shards = places.shards[rows].tolist()
        descriptors, paths = [self._open(shard) for shard in shards], [self._paths[shard] for shard in shards]
        return read_payloads(descriptors, places.offsets[rows], places.lengths[rows], paths)

    def close(self) -> None:
        """Closes the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _open(self, shard: int) -> int:
        descriptor = self._descriptors.get(shard)
        if descriptor is None:
            descriptor = self._descriptors[shard] = os.open(self._paths[shard], os.O_RDONLY)
        return descriptor
