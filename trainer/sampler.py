"""Balanced batches out of the TFRecords: P classes with K examples each, by the offsets, never all in memory."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sim_transforms.errors import UsageError
from sim_transforms.records.clips import sound_of
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.storage.tfrecord import read_record

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Places:
    """Where examples stand: a row an example, in the order of (shard, offset).

    Attributes:
        item_ids, labels, splits: [n] text.
        shards: [n] int; offsets, lengths: [n] bytes.
    """

    item_ids: Array
    labels: Array
    splits: Array
    shards: Array
    offsets: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.item_ids)

    def take(self, rows: Array) -> "Places":
        """The places of `rows`."""
        columns = (self.item_ids, self.labels, self.splits, self.shards, self.offsets, self.lengths)
        return Places(*(column[rows] for column in columns))


def load_places(examples: Path) -> Places:
    """Reads `offsets.parquet`."""
    table = pq.read_table(examples / "offsets.parquet")
    texts = [np.array(table.column(n).to_pylist(), dtype=object) for n in ("item_id", "label", "split")]
    return Places(*texts, *(table.column(n).to_numpy() for n in ("shard", "offset", "length")))


class RecordReader:
    """Reads single records of an examples folder; files stay open until `close`."""

    def __init__(self, examples: Path, manifest: ExamplesManifest) -> None:
        self._paths = [examples / manifest.example_file(shard) for shard in range(manifest.shards)]
        self._descriptors: dict[int, int] = {}

    def read(self, places: Places, row: int) -> bytes:
        """Serialised example of a row; raises DamagedArtefact where its checksum differs."""
        shard = int(places.shards[row])
        if shard not in self._descriptors:
            self._descriptors[shard] = os.open(self._paths[shard], os.O_RDONLY)
        place = (int(places.offsets[row]), int(places.lengths[row]))
        return read_record(self._descriptors[shard], *place, str(self._paths[shard]))

    def close(self) -> None:
        """Closes the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


@dataclass(frozen=True)
class TrainingSplit:
    """Rows of `Places` to train on and to choose the epoch by, and the classes in the order of their numbers."""

    training: Array
    validation: Array
    classes: tuple[str, ...]


def split_training(
    places: Places, train_labels: Sequence[str] | str, share: float, seed: int, clips: bool = False
) -> TrainingSplit:
    """Cuts validation out of the training items of the trained labels, by hash of item_id.

    Items of the test split and of other labels are in neither. Clips of one sound stay together, by hash of the sound,
    unless it is the only one of its label.

    Args:
        places: of all items.
        train_labels: labels, or "all".
        share: of validation.
        seed: of the hash.
        clips: whether items are clips of sounds.

    Raises:
        UsageError: a label that no training item has, fewer than two classes, or no validation item.
    """
    in_train = places.splits == "train"
    present = sorted({str(label) for label in places.labels[in_train] if label})
    classes = present if train_labels == "all" else list(train_labels)
    missing = [label for label in classes if label not in present]
    if missing or len(classes) < 2:
        raise UsageError(f"train.train_labels: {missing or classes}; at least two of {present} are expected")
    usable = np.flatnonzero(in_train & np.isin(places.labels.astype(str), classes))
    held = np.array([_held_out(unit, share, seed) for unit in _units(places, usable, clips)], bool)
    training, validation = usable[~held], usable[held]
    if len({places.labels[row] for row in training}) < 2 or len(validation) < 2:
        raise UsageError(
            f"{len(training)} training and {len(validation)} validation items are too few; add items, or change "
            "train.validation_share"
        )
    return TrainingSplit(training, validation, tuple(classes))


def _units(places: Places, rows: Array, clips: bool) -> list[str]:
    """What stays together of each row: the item, or the sound of a clip."""
    ids = [str(places.item_ids[row]) for row in rows]
    if not clips:
        return ids
    sources = [sound_of(item_id) for item_id in ids]
    labels = [str(places.labels[row]) for row in rows]
    several = Counter(label for label, _ in set(zip(labels, sources, strict=True)))
    together = zip(ids, sources, labels, strict=True)
    return [source if several[label] > 1 else item_id for item_id, source, label in together]


def _held_out(item_id: str, share: float, seed: int) -> bool:
    digest = hashlib.sha256(f"validation:{seed}:{item_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class BalancedSampler:
    """An endless stream of batches of rows: P classes drawn without repetition, K examples of each.

    A class is walked in a seeded order and shuffled anew when it is through, so that all its examples come equally
    often; one of fewer than K examples repeats them within a batch. With fewer than P classes all take part.
    """

    def __init__(self, labels: Array, rows: Array, classes: int, examples: int, seed: int) -> None:
        """Labels [n] of all places; rows [t] to draw from."""
        names = sorted({str(labels[row]) for row in rows})
        self._rows = [rows[labels[rows].astype(str) == name] for name in names]
        self._classes, self._examples = min(classes, len(names)), examples
        self._generator = np.random.default_rng(seed)
        self._queues: list[list[int]] = [[] for _ in names]

    def __iter__(self) -> Iterator[Array]:
        """Batches of P * K rows, int64."""
        while True:
            chosen = np.sort(self._generator.choice(len(self._rows), self._classes, replace=False))
            yield np.array([row for place in chosen for row in self._draw(place)])

    def _draw(self, place: int) -> list[int]:
        queue = self._queues[place]
        while len(queue) < self._examples:
            queue.extend(self._generator.permutation(self._rows[place]).tolist())
        drawn, queue[:] = queue[: self._examples], queue[self._examples :]
        return drawn
