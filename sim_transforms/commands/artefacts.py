"""Reads embeddings and decoded media back for evaluation and reports."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.errors import NotFound
from sim_transforms.features.example_format import ExampleRecord, decode_example
from sim_transforms.records.batches import vectors_of
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest
from sim_transforms.storage.tfrecord import read_record

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class EmbeddedItems:
    """All items of `embeddings/`.

    Attributes:
        item_ids, labels, splits: [n] text.
        vectors: [n, dim] float32.
    """

    item_ids: Array
    labels: Array
    splits: Array
    vectors: Array


def load_embeddings(folder: Path) -> EmbeddedItems:
    """Reads the files that the manifest lists, in their order."""
    manifest = EmbeddingsManifest.load(folder)
    names = ["item_id", "label", "split", "embedding"]
    tables = [pq.read_table(folder / entry.name, columns=names) for entry in manifest.files]
    if not tables:
        empty = np.zeros(0, dtype=str)
        return EmbeddedItems(empty, empty, empty, np.zeros((0, manifest.dimension), np.float32))
    table = pa.concat_tables(tables)
    ids, labels, splits = (np.array(table.column(n).to_pylist(), dtype=str) for n in names[:3])
    return EmbeddedItems(ids, labels, splits, vectors_of(table.column("embedding")))


def read_example(examples: Path, manifest: ExamplesManifest, shard: int, offset: int, length: int) -> ExampleRecord:
    """One record of `examples/`; raises DamagedArtefact where it cannot be read."""
    path = examples / manifest.example_file(shard)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return decode_example(read_record(descriptor, offset, length, str(path)))
    finally:
        os.close(descriptor)


class DecodedMedia:
    """Decoded media of single items by random access.

    Attributes:
        manifest: of the examples.
    """

    def __init__(self, examples: Path) -> None:
        """Reads the offsets; raises NotFound where there are no whole examples."""
        self.manifest = ExamplesManifest.load(examples)
        self._examples = examples
        table = pq.read_table(examples / "offsets.parquet")
        columns = (table.column(n).to_pylist() for n in ("item_id", "shard", "offset", "length"))
        self._places = {item_id: place for item_id, *place in zip(*columns, strict=True)}

    def __contains__(self, item_id: str) -> bool:
        """Whether the item was preprocessed here; what a reindex has added was not."""
        return item_id in self._places

    @property
    def item_ids(self) -> list[str]:
        """Of all records, in the order of offsets.parquet: by shard and place, so that clips follow by their starts."""
        return list(self._places)

    def items(self) -> EmbeddedItems:
        """All items, in the order of offsets.parquet, without vectors ([n, 0])."""
        table = pq.read_table(self._examples / "offsets.parquet", columns=["item_id", "label", "split"])
        ids, labels, splits = (np.array(column.to_pylist(), dtype=str) for column in table.columns)
        return EmbeddedItems(ids, labels, splits, np.zeros((len(ids), 0), np.float32))

    def pixels(self, item_ids: Sequence[str]) -> Array:
        """[n, *shape] of the decoded media's dtype, of clips samples; raises NotFound for an item that is not there."""
        return np.stack([self._one(item_id) for item_id in item_ids])

    def _one(self, item_id: str) -> Array:
        if item_id not in self._places:
            raise NotFound(f"{self._examples} holds no item {item_id!r}")
        record = read_example(self._examples, self.manifest, *self._places[item_id])
        return np.frombuffer(record.media, self.manifest.media.dtype).reshape(self.manifest.media.shape)
