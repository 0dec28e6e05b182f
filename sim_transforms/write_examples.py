"""References -> TFRecord files of decoded media, one a shard, with what is known of each record.

References, never pixels, are grouped by shard; a shard is decoded in the order of item_id and written as one file
under a temporary name that is renamed when it is whole.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam

from sim_transforms.beam_files import BeamFiles
from sim_transforms.errors import MediaError
from sim_transforms.features.example_format import ExampleRecord, encode_example
from sim_transforms.media.fetch_ahead import FetchAhead
from sim_transforms.media.guard import Bounds, Decoded, GuardedDecoder
from sim_transforms.records.items import FailedItem, MediaRef, shard_of
from sim_transforms.records.ledger import LedgerEntry
from sim_transforms.records.manifests import FileEntry, MediaShape
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import replace_file
from sim_transforms.storage.tfrecord import frame

STAGE = "preprocess"


@dataclass(frozen=True)
class RecordPlace:
    """Where a record stands: byte offset and length, framing included; fields as in OFFSETS_SCHEMA."""

    item_id: str
    label: str
    split: str
    shard: int
    offset: int
    length: int


@dataclass(frozen=True)
class ShardReport:
    """What became of the references of one shard.

    Attributes:
        duplicates: (item_id, rows of the catalog) of ids that stand more than once.
        digest: SHA-256 over items and content of their media, rejected ones too.
    """

    shard: int
    entry: LedgerEntry
    places: tuple[RecordPlace, ...]
    failed: tuple[FailedItem, ...]
    duplicates: tuple[tuple[str, tuple[int, ...]], ...]
    labels: tuple[tuple[str, str, int], ...]
    media_bytes: int
    digest: str
    file: FileEntry


@dataclass
class WriteExamples(beam.PTransform):
    """MediaRefs -> one ShardReport a shard that is not empty, having written its file.

    Attributes:
        output: folder of the files.
        shards: number of files.
        media: what media are decoded to.
        bounds: what one file may take.
    """

    output: str
    shards: int
    media: MediaShape
    bounds: Bounds

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, references: beam.PCollection[MediaRef]) -> beam.PCollection[ShardReport]:
        """Groups by shard, decodes and writes."""
        return (
            references
            | "KeyByShard" >> beam.Map(key_by_shard, self.shards)
            | "GroupByShard" >> beam.GroupByKey()
            | "DecodeAndWrite" >> beam.Map(write_shard, self.output, self.shards, self.media, self.bounds)
        )


def key_by_shard(reference: MediaRef, shards: int) -> tuple[int, MediaRef]:
    """Keys a reference by its shard."""
    return shard_of(reference.item_id, shards), reference


def write_shard(
    group: tuple[int, Iterable[MediaRef]], output: str, shards: int, media: MediaShape, bounds: Bounds
) -> ShardReport:
    """Decodes the references of a shard in order and writes the file."""
    shard, references = group
    ordered = sorted(references, key=lambda r: (r.item_id, r.row))
    name = shard_name(shard, shards)
    writer = _ShardWriter(shard)
    with (
        GuardedDecoder(media, bounds) as decoder,
        FetchAhead([reference.uri for reference in ordered], BeamFiles(), bounds.seconds) as paths,
        replace_file(Path(output) / name) as temporary,
        temporary.open("wb") as file,
    ):
        decoded = paths.results(decoder.decode(paths))
        for reference, found in zip(ordered, decoded, strict=True):
            file.write(writer.add(record_of(reference, found)))
    return writer.report(name, len(ordered), file_entry(Path(output), name), _duplicates(ordered))


def shard_name(shard: int, shards: int) -> str:
    """File name of a shard."""
    return f"examples-{shard:05d}-of-{shards:05d}.tfrecord"


def record_of(reference: MediaRef, found: Decoded | MediaError) -> ExampleRecord | FailedItem:
    """What is written of an item, or why nothing is."""
    if isinstance(found, MediaError):
        return FailedItem(reference.item_id, reference.uri, STAGE, found.reason, found.message)
    return ExampleRecord(
        item_id=reference.item_id,
        label=reference.label,
        split=reference.split,
        digest=found.digest,
        media=found.media,
        metadata=reference.metadata,
    )


class _ShardWriter:
    """Keeps the accounts of a shard while its records are written."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._places: list[RecordPlace] = []
        self._failed: list[FailedItem] = []
        self._labels: Counter[tuple[str, str]] = Counter()
        self._digest = hashlib.sha256()
        self._offset = self._media_bytes = 0

    def add(self, record: ExampleRecord | FailedItem) -> bytes:
        """The framed record of an item, or nothing where it is rejected."""
        if isinstance(record, FailedItem):
            self._failed.append(record)
            self._digest.update(repr((record.item_id, "rejected", record.reason)).encode())
            return b""
        data = frame(encode_example(record))
        place = RecordPlace(record.item_id, record.label, record.split, self._shard, self._offset, len(data))
        self._places.append(place)
        self._labels[record.label, record.split] += 1
        self._offset += len(data)
        self._media_bytes += len(record.media)
        known = (record.item_id, record.label, record.split, record.digest, record.metadata)
        self._digest.update(repr(known).encode())
        return data

    def report(
        self, name: str, items: int, file: FileEntry, duplicates: tuple[tuple[str, tuple[int, ...]], ...]
    ) -> ShardReport:
        """The accounts."""
        return ShardReport(
            shard=self._shard,
            entry=LedgerEntry(STAGE, name, items, len(self._places), len(self._failed)),
            places=tuple(self._places),
            failed=tuple(self._failed),
            duplicates=duplicates,
            labels=tuple(sorted((label, split, n) for (label, split), n in self._labels.items())),
            media_bytes=self._media_bytes,
            digest=self._digest.hexdigest(),
            file=file,
        )


def _duplicates(ordered: list[MediaRef]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    counts = Counter(r.item_id for r in ordered)
    twice = [item_id for item_id, count in counts.items() if count > 1]
    return tuple((i, tuple(r.row for r in ordered if r.item_id == i)) for i in sorted(twice))
