"""Where examples stand in the TFRecords: some 50 bytes an example, so that a million of them fit anywhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact

Array = np.ndarray[Any, Any]

UNLABELLED = ""


@dataclass(frozen=True)
class Places:
    """A row an example, in the order of (shard, offset).

    Attributes:
        item_ids: [n] Arrow strings.
        labels: names of the classes, in order; "" stands for no label.
        numbers: [n] int32, places in `labels`.
        in_train: [n] bool.
        shards: [n] int32; offsets: [n] int64, bytes; lengths: [n] int32, bytes with the framing.
    """

    item_ids: pa.Array
    labels: tuple[str, ...]
    numbers: Array
    in_train: Array
    shards: Array
    offsets: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def unlabelled(self) -> Array:
        """[n] bool, whether an example has no label."""
        return np.isin(self.numbers, self.numbers_of((UNLABELLED,)))

    def ids_of(self, rows: Array) -> list[str]:
        """Item ids of rows."""
        return self.item_ids.take(pa.array(rows, pa.int64())).to_pylist()

    def labels_of(self, rows: Array) -> list[str]:
        """Labels of rows."""
        return [self.labels[number] for number in self.numbers[rows]]

    def numbers_of(self, labels: tuple[str, ...]) -> Array:
        """[len(labels)] places of some labels in `labels`, -1 of those that no example has."""
        known = {label: number for number, label in enumerate(self.labels)}
        return np.array([known.get(label, -1) for label in labels], np.int32)


def load_places(examples: Path) -> Places:
    """Reads `offsets.parquet`; raises DamagedArtefact where it cannot be read."""
    path = examples / "offsets.parquet"

    def column(name: str) -> pa.ChunkedArray:
        # One at a time: what is read of one is gone before the next is.
        try:
            return pq.read_table(path, columns=[name]).column(name)
        except (OSError, pa.ArrowException) as error:
            raise DamagedArtefact(f"{path} cannot be read: {error}; run `ruiji preprocess` again") from error

    labels, numbers = _numbered(column("label"))
    return Places(
        item_ids=_whole(column("item_id")),
        labels=labels,
        numbers=numbers,
        in_train=pc.equal(column("split"), "train").to_numpy(),
        shards=column("shard").to_numpy().astype(np.int32),
        offsets=column("offset").to_numpy().astype(np.int64),
        lengths=column("length").to_numpy().astype(np.int32),
    )


def make_places(item_ids: list[str], labels: list[str], splits: list[str]) -> Places:
    """Places of examples that stand nowhere: for splits and samplers of what is not read."""
    names, numbers = _numbered(pa.chunked_array([pa.array(labels, pa.string())]))
    nowhere = np.zeros(len(item_ids), np.int32)
    in_train = np.array([split == "train" for split in splits], bool)
    where = (nowhere, nowhere.astype(np.int64), nowhere)
    return Places(pa.array(item_ids, pa.string()), names, numbers, in_train, *where)


def _numbered(column: pa.ChunkedArray) -> tuple[tuple[str, ...], Array]:
    """Sorted names of a text column, and the place of each value among them."""
    encoded = _whole(column.dictionary_encode())
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int32)
    place[order] = np.arange(len(names), dtype=np.int32)
    return tuple(names[i] for i in order), place[encoded.indices.to_numpy()]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
