"""What `examples/` tells of its files and items, and the perceptual hashes of their decoded media.

The files of records are read once, front to back; what is kept of an item is some tens of bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact
from sim_transforms.features.example_format import decode_example
from sim_transforms.quality.perceptual import perceptual_hash, spectrum_hash
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.records.media import MediaShape
from sim_transforms.storage.tfrecord import read_records

Array = np.ndarray[Any, Any]

# Of decoded media that are hashed at once.
_BATCH_ITEMS, _BATCH_BYTES = 256, 2**24


@dataclass(frozen=True)
class ExampleTable:
    """The items and files of `examples/`, in the order of their records.

    Attributes:
        folder: of the examples.
        manifest: theirs.
        files: rows of media.parquet.
        items: rows of offsets.parquet.
        file_of: [items] int64 row in `files` of each item.
        digests: [items] int64 code of the content of each item's file.
        is_train: [items] bool.
    """

    folder: Path
    manifest: ExamplesManifest
    files: pa.Table
    items: pa.Table
    file_of: Array
    digests: Array
    is_train: Array

    @classmethod
    def read(cls, folder: Path) -> "ExampleTable":
        """Reads the tables.

        Raises:
            NotFound: there are no whole examples.
            DamagedArtefact: the tables do not fit each other.
        """
        manifest = ExamplesManifest.load(folder)
        files, items = pq.read_table(folder / "media.parquet"), pq.read_table(folder / "offsets.parquet")
        parts = files.column("parts").to_numpy().astype(np.int64)
        if int(parts.sum()) != len(items):
            raise DamagedArtefact(
                f"{folder}: media.parquet tells of {parts.sum()} items, offsets.parquet of {len(items)}"
            )
        file_of = np.repeat(np.arange(len(files)), parts)
        codes = files.column("digest").combine_chunks().dictionary_encode().indices
        digests = np.asarray(codes, np.int64)[file_of]
        splits = np.asarray(pa.compute.equal(items.column("split"), "train").combine_chunks(), bool)
        return cls(folder, manifest, files, items, file_of, digests, splits)

    def first_items(self) -> Array:
        """[files] int64 first item of each file."""
        return np.flatnonzero(np.diff(self.file_of, prepend=-1))


def hash_examples(table: ExampleTable) -> Array:
    """[items] uint64 hash of each item's decoded media: of pictures as they are, of sounds of their log-mel spectra.

    Raises:
        DamagedArtefact: the records are not those of the tables, or cannot be read.
    """
    shape = table.manifest.media
    hashes = np.zeros(len(table.items), np.uint64)
    item_ids = table.items.column("item_id")
    row = 0
    for ids, media in _batches(table):
        if row + len(ids) > len(hashes) or item_ids.slice(row, len(ids)).to_pylist() != ids:
            raise DamagedArtefact(f"{table.folder}: offsets.parquet does not name the records from number {row} on")
        hashes[row : row + len(ids)] = _hashes(media, shape)
        row += len(ids)
    if row != len(hashes):
        raise DamagedArtefact(f"{table.folder}: found {row} records; {len(hashes)} stand in offsets.parquet")
    return hashes


def _batches(table: ExampleTable) -> Iterator[tuple[list[str], Array]]:
    """Ids and [b, *shape] decoded media, in the order of the records."""
    shape = table.manifest.media
    size = max(1, min(_BATCH_ITEMS, _BATCH_BYTES // shape.item_bytes))
    ids: list[str] = []
    media: list[bytes] = []
    for serialized in _records(table):
        record = decode_example(serialized)
        ids.append(record.item_id)
        media.append(record.media)
        if len(ids) == size:
            yield ids, _stacked(media, shape)
            ids, media = [], []
    if ids:
        yield ids, _stacked(media, shape)


def _records(table: ExampleTable) -> Iterator[bytes]:
    for entry in table.manifest.files:
        if entry.name.startswith("examples-"):
            yield from read_records(table.folder / entry.name)


def _stacked(media: list[bytes], shape: MediaShape) -> Array:
    return np.frombuffer(b"".join(media), shape.dtype).reshape(len(media), *shape.shape)


def _hashes(media: Array, shape: MediaShape) -> Array:
    if shape.sound is None:
        return perceptual_hash(media)
    from sim_transforms.features.log_mel import log_mel

    return spectrum_hash(log_mel(media, shape.sound).numpy(), shape.sound.top_db)
