"""References -> TFRecord files of decoded media, one a shard, with what is known of each record.

References, never pixels, are grouped by shard; a shard is decoded in the order of item_id and written as one file
under a temporary name that is renamed when it is whole.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import apache_beam as beam

from sim_transforms.beam_files import BeamFiles
from sim_transforms.errors import MediaError
from sim_transforms.features.example_format import ExampleRecord, encode_example
from sim_transforms.media.decode import most_bytes
from sim_transforms.media.fetch_ahead import FetchAhead
from sim_transforms.media.guard import Bounds, Decoded, GuardedDecoder
from sim_transforms.media.parts import FileFacts
from sim_transforms.records.clips import SOURCE_ID, START, clip_id
from sim_transforms.records.items import FailedItem, MediaRef, shard_of
from sim_transforms.records.ledger import CLIPS, LedgerEntry
from sim_transforms.records.manifests import FileEntry
from sim_transforms.records.media import MediaShape
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
class MediaFile:
    """What is told of an accepted file; a row of media.parquet.

    Attributes:
        digest: SHA-256 of its content, hexadecimal.
        parts: records that were made of it.
    """

    item_id: str
    digest: str
    parts: int
    facts: FileFacts


@dataclass(frozen=True)
class ShardReport:
    """What became of the references of one shard.

    Attributes:
        entry: counts files.
        duplicates: (item_id, rows of the catalog) of ids that stand more than once.
        clips: of sounds, counts clips: made, written, skipped as silent.
        files: what is told of the accepted ones.
        digest: SHA-256 over items and content of their media, rejected ones too.
    """

    shard: int
    entry: LedgerEntry
    places: tuple[RecordPlace, ...]
    failed: tuple[FailedItem, ...]
    duplicates: tuple[tuple[str, tuple[int, ...]], ...]
    clips: LedgerEntry | None
    files: tuple[MediaFile, ...]
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
    uris, most = [reference.uri for reference in ordered], most_bytes(media.kind)
    with (
        GuardedDecoder(media, bounds) as decoder,
        FetchAhead(uris, BeamFiles(), bounds.seconds, most) as paths,
        replace_file(Path(output) / name) as temporary,
        temporary.open("wb") as file,
    ):
        writer = _ShardWriter(shard, file)
        decoded = paths.results(decoder.decode(paths))
        for reference, found in zip(ordered, decoded, strict=True):
            writer.add(reference, found)
    entry = file_entry(Path(output), name)
    return writer.report(name, len(ordered), entry, _duplicates(ordered), is_sound=media.sound is not None)


def shard_name(shard: int, shards: int) -> str:
    """File name of a shard."""
    return f"examples-{shard:05d}-of-{shards:05d}.tfrecord"


def records_of(reference: MediaRef, found: Decoded) -> Iterator[ExampleRecord]:
    """What is written of a file: its item, or its clips as items, which say what sound they are of and where."""
    for part in found.content.parts:
        own = () if part.start is None else ((SOURCE_ID, reference.item_id), (START, part.start))
        yield ExampleRecord(
            item_id=clip_id(reference.item_id, part.start),
            label=reference.label,
            split=reference.split,
            digest=found.digest,
            media=part.media,
            metadata=tuple(sorted((*reference.metadata, *own))),
        )


class _ShardWriter:
    """Keeps the accounts of a shard while its records are written."""

    def __init__(self, shard: int, file: BinaryIO) -> None:
        self._shard, self._file = shard, file
        self._places: list[RecordPlace] = []
        self._failed: list[FailedItem] = []
        self._files: list[MediaFile] = []
        self._labels: Counter[tuple[str, str]] = Counter()
        self._digest = hashlib.sha256()
        self._offset = self._media_bytes = self._skipped = 0

    def add(self, reference: MediaRef, found: Decoded | MediaError) -> None:
        """Writes the records of a file, or notes why there are none."""
        if isinstance(found, MediaError):
            self._failed.append(FailedItem(reference.item_id, reference.uri, STAGE, found.reason, found.message))
            self._digest.update(repr((reference.item_id, "rejected", found.reason)).encode())
            return
        content = found.content
        self._files.append(MediaFile(reference.item_id, found.digest, len(content.parts), content.facts))
        self._skipped += content.skipped
        for record in records_of(reference, found):
            self._write(record)

    def _write(self, record: ExampleRecord) -> None:
        data = frame(encode_example(record))
        self._file.write(data)
        place = RecordPlace(record.item_id, record.label, record.split, self._shard, self._offset, len(data))
        self._places.append(place)
        self._labels[record.label, record.split] += 1
        self._offset += len(data)
        self._media_bytes += len(record.media)
        known = (record.item_id, record.label, record.split, record.digest, record.metadata)
        self._digest.update(repr(known).encode())

    def report(
        self,
        name: str,
        files: int,
        file: FileEntry,
        duplicates: tuple[tuple[str, tuple[int, ...]], ...],
        *,
        is_sound: bool,
    ) -> ShardReport:
        """The accounts, of so many files that were given."""
        written = len(self._places)
        clips = LedgerEntry(CLIPS, name, written + self._skipped, written, 0, self._skipped)
        return ShardReport(
            shard=self._shard,
            entry=LedgerEntry(STAGE, name, files, len(self._files), len(self._failed)),
            places=tuple(self._places),
            failed=tuple(self._failed),
            duplicates=duplicates,
            clips=clips if is_sound else None,
            files=tuple(self._files),
            labels=tuple(sorted((label, split, n) for (label, split), n in self._labels.items())),
            media_bytes=self._media_bytes,
            digest=self._digest.hexdigest(),
            file=file,
        )


def _duplicates(ordered: list[MediaRef]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    counts = Counter(r.item_id for r in ordered)
    twice = [item_id for item_id, count in counts.items() if count > 1]
    return tuple((i, tuple(r.row for r in ordered if r.item_id == i)) for i in sorted(twice))
