"""References -> TFRecord files of decoded media, one a shard, with what is known of each record.

References, never pixels, are grouped by shard; a shard is decoded in the order of item_id and written as one file
under a temporary name that is renamed when it is whole. What earlier runs have decoded is taken up (`kept_media`).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.beam_files import BeamFiles
from sim_transforms.counters import count
from sim_transforms.errors import DamagedArtefact, MediaError
from sim_transforms.features.example_format import ExampleRecord, encode_example
from sim_transforms.group_in_files import GroupInFiles
from sim_transforms.kept_media import Keep, KeptFile, KeptMedia, KeptRows, write_kept
from sim_transforms.media.decode import most_bytes
from sim_transforms.media.fetch_ahead import FetchAhead
from sim_transforms.media.guard import Bounds, Decoded, GuardedDecoder
from sim_transforms.media.remote import FileStatus, Statuses
from sim_transforms.records.clips import SOURCE_ID, START, clip_id
from sim_transforms.records.items import MEDIA_SCHEMA, OFFSETS_SCHEMA, FailedItem, MediaRef
from sim_transforms.records.kept import table_beside
from sim_transforms.records.ledger import CLIPS, LedgerEntry
from sim_transforms.records.manifests import FileEntry, example_file
from sim_transforms.records.media import MediaShape
from sim_transforms.runs.generations import Generation
from sim_transforms.runs.tally import Tally
from sim_transforms.send_together import SendTogether, entries_of
from sim_transforms.storage.checksums import FileDigests
from sim_transforms.storage.files import EarlyWrites, link_file, replace_file
from sim_transforms.storage.tfrecord import frame, is_packed, pack

STAGE = "preprocess"
OFFSETS, FILES = ".offsets.parquet", ".media.parquet"
# What a worker keeps of listings: 150 MB.
_MOST_LISTED = 500_000


@dataclass(frozen=True)
class ShardReport:
    """What became of the references of one shard.

    Attributes:
        entry: counts files.
        records: how many were written.
        accounts: path of tables, without their endings: `.offsets.parquet`, where each record stands (OFFSETS_SCHEMA),
            and `.media.parquet`, what is told of the accepted files (MEDIA_SCHEMA). In files, so that nobody has to
            hold those of all shards.
        duplicates: (item_id, rows of the catalog) of ids that stand more than once.
        clips: of sounds, counts clips: made, written, skipped as silent.
        digest: SHA-256 over items and content of their media, rejected ones too.
        generations: of its records.
        reused: files that were not decoded, because an earlier run had done it.
    """

    shard: int
    entry: LedgerEntry
    records: int
    accounts: str
    failed: tuple[FailedItem, ...]
    duplicates: tuple[tuple[str, tuple[int, ...]], ...]
    clips: LedgerEntry | None
    labels: tuple[tuple[str, str, int], ...]
    media_bytes: int
    digest: str
    file: FileEntry
    generations: tuple[Generation, ...]
    reused: int


@dataclass(frozen=True)
class ShardJob:
    """What the shards of a run have in common.

    Attributes:
        output: folder of the TFRecord files.
        accounts: folder of what is told of them, for the driver.
        shards: number of files.
        media: what media are decoded to.
        bounds: what one file may take.
        compression: of the records: none or gzip.
        keep: how decoded media are kept for later runs; null where they are not.
        spill: folder in which references wait, or null (`group_in_files`).
        tally: folder in which the files that are done are counted, "" where nobody looks.
    """

    output: str
    accounts: str
    shards: int
    media: MediaShape
    bounds: Bounds
    compression: str = "none"
    keep: Keep | None = None
    spill: str | None = None
    tally: str = ""


@dataclass
class WriteExamples(beam.PTransform):
    """MediaRefs -> one ShardReport a shard that is not empty, having written its file."""

    job: ShardJob

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, references: beam.PCollection[MediaRef]) -> beam.PCollection[ShardReport]:
        """Groups by shard, decodes and writes."""
        return (
            references
            | "KeyByShard" >> beam.ParDo(SendTogether(self.job.shards))
            | "GroupByShard" >> GroupInFiles(self.job.spill)
            | "DecodeAndWrite" >> beam.ParDo(_WriteShards(self.job))
        )


class _WriteShards(beam.DoFn):
    """(shard, pickled lists of its references) -> its ShardReport; the decoder's process serves all of a worker."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._worker: ShardWorker | None = None

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[ShardReport]:
        """Writes one shard."""
        if self._worker is None:
            self._worker = ShardWorker(self._job)
        shard, lists = group
        yield write_shard(shard, list(entries_of(lists)), self._job, self._worker)

    def teardown(self) -> None:
        """Ends the decoder."""
        if self._worker is not None:
            self._worker.decoder.end()
            self._worker = None


class ShardWorker:
    """What the shards that one worker writes have in common.

    Attributes:
        decoder: for the files that are not known; nothing is left to be answered when a shard ends or fails.
        statuses: of files; what a listing has shown serves all shards.
        looked_ns: when the first was asked for.
    """

    def __init__(self, job: ShardJob) -> None:
        self.decoder = GuardedDecoder(job.media, job.bounds)
        self.statuses = Statuses(BeamFiles(), _MOST_LISTED)
        self.looked_ns = time.time_ns()


def write_shard(shard: int, references: list[MediaRef], job: ShardJob, worker: ShardWorker) -> ShardReport:
    """Decodes the references of a shard in the order of item_id and writes the file.

    Args:
        shard: number of it.
        references: of its items, in any order.
        job: of the run.
        worker: that writes it.
    """
    ordered = sorted(references, key=lambda r: (r.item_id, r.row))
    try:
        return _write(shard, ordered, job, job.keep, worker)
    except DamagedArtefact:
        if job.keep is None:
            raise
    # Whatever was kept of this shard is not taken up, but written anew.
    return _write(shard, ordered, job, replace(job.keep, takes_up=False), worker)


def _write(shard: int, ordered: list[MediaRef], job: ShardJob, keep: Keep | None, worker: ShardWorker) -> ShardReport:
    name = example_file(shard, job.shards, job.compression)
    target = (Path(job.output) if keep is None else keep.pending) / name
    table_path = table_beside(target)
    with ExitStack() as stack:
        kept = stack.enter_context(KeptMedia(keep, shard, job.shards))
        sources = _Sources(ordered, kept, worker.statuses if keep is not None else None)
        stack.push(partial(_end_on_error, worker.decoder))
        ahead = FetchAhead(sources.unknown, BeamFiles(), job.bounds.seconds, most_bytes(job.media.kind))
        paths = stack.enter_context(ahead)
        temporary = stack.enter_context(replace_file(target))
        with temporary.open("wb") as file, EarlyWrites(file.fileno()) as early:
            writer = _ShardWriter(shard, worker.looked_ns, file, early)
            tally = Tally(job.tally, name)
            for reference, status, known, found in sources.found(paths.results(worker.decoder.decode(paths))):
                writer.add(reference, status, found, kept.generation(reference, known))
                tally.add(rejected=isinstance(found, MediaError))
            tally.flush()
        if keep is not None:
            # Of this attempt's own file, whose sums are reported, whatever another attempt does to `target`.
            link_file(temporary, Path(job.output) / name)
            table_path.unlink(missing_ok=True)
    if keep is not None:
        write_kept(writer.rows.table(), table_path)
    writer.write_accounts(Path(job.accounts) / name)
    report = writer.report(Path(job.accounts) / name, ordered, sources.reused, job.media)
    for entry in filter(None, (report.entry, report.clips)):
        count(entry)
    return report


def _end_on_error(decoder: GuardedDecoder, kind: type[BaseException] | None, *error: object) -> None:
    """Answers that nobody has read must not be taken for those of the next files."""
    if kind is not None:
        decoder.close()


class _Sources:
    """The files of a shard: what earlier runs know of them, and which are to be decoded."""

    def __init__(self, ordered: list[MediaRef], kept: KeptMedia, statuses: Statuses | None) -> None:
        self._ordered, self._kept = ordered, kept
        self._statuses = [statuses.of(reference.uri) if statuses is not None else None for reference in ordered]
        self._known = kept.find(ordered, self._statuses)
        self.unknown = [r.uri for r, known in zip(ordered, self._known, strict=True) if known is None]
        self.reused = len(ordered) - len(self.unknown)

    def found(
        self, decoded: Iterator[Decoded | MediaError]
    ) -> Iterator[tuple[MediaRef, FileStatus | None, KeptFile | None, Decoded | MediaError]]:
        """Each reference, how its file looks, what was known of it, and what has come of it."""
        for reference, status, known in zip(self._ordered, self._statuses, self._known, strict=True):
            yield reference, status, known, next(decoded) if known is None else self._kept.content(known)
        if next(decoded, None) is not None:
            raise RuntimeError("the decoder answers more files than it was asked for")


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
    """Keeps the accounts of a shard while its records are written.

    Args:
        shard: of the run.
        looked_ns: when its files were looked at.
        file: to write to.
        early: is told what was written.
    """

    def __init__(self, shard: int, looked_ns: int, file: BinaryIO, early: EarlyWrites) -> None:
        self._shard, self._file, self._early = shard, file, early
        self._compresses = is_packed(file.name)
        self.rows = KeptRows(looked_ns)
        self.failed: list[FailedItem] = []
        self._places: list[list[Any]] = [[] for _ in OFFSETS_SCHEMA]
        self._parts: list[int] = []
        self._labels: Counter[tuple[str, str]] = Counter()
        self._generations: dict[int, list[int]] = {}
        self._digest, self._file_digests = hashlib.sha256(), FileDigests()
        self._offset = self._media_bytes = 0
        self.skipped = self.written = 0

    def add(self, reference: MediaRef, status: FileStatus | None, found: Decoded | MediaError, generation: int) -> None:
        """Writes the records of a file, or notes why there are none."""
        start = self._offset
        if isinstance(found, MediaError):
            self.failed.append(FailedItem(reference.item_id, reference.uri, STAGE, found.reason, found.message))
            self._digest.update(repr((reference.item_id, "rejected", found.reason)).encode())
            self.rows.add(reference, status, found, (0, start, 0))
            return
        self._parts.append(len(found.content.parts))
        self.skipped += found.content.skipped
        for record in records_of(reference, found):
            self._write(record, generation)
        self.rows.add(reference, status, found, (generation, start, self._offset - start))

    def _write(self, record: ExampleRecord, generation: int) -> None:
        data = frame(encode_example(record))
        if self._compresses:
            data = pack(data)
        self._file.write(data)
        self._file_digests.add(data)
        self._early.add(len(data))
        place = (record.item_id, record.label, record.split, self._shard, self._offset, len(data))
        for column, value in zip(self._places, place, strict=True):
            column.append(value)
        self._labels[record.label, record.split] += 1
        self._offset += len(data)
        self._media_bytes += len(record.media)
        self.written += 1
        known = repr((record.item_id, record.label, record.split, record.digest, record.metadata)).encode()
        self._digest.update(known)
        analysed = repr((record.item_id, record.label, record.split, record.digest)).encode()
        sums = self._generations.setdefault(generation, [0, 0])
        sums[0] += 1
        sums[1] += int.from_bytes(hashlib.blake2b(analysed, digest_size=16).digest(), "big")

    def write_accounts(self, path: Path) -> None:
        """Writes the tables that `ShardReport.accounts` speaks of."""
        columns = zip(self._places, OFFSETS_SCHEMA, strict=True)
        offsets = pa.Table.from_arrays([pa.array(c, field.type) for c, field in columns], schema=OFFSETS_SCHEMA)
        table = self.rows.table()
        accepted = table.filter(pc.is_null(table.column("reason")))
        files = accepted.append_column("parts", pa.array(self._parts, pa.int32())).select(MEDIA_SCHEMA.names)
        for ending, told in ((OFFSETS, offsets), (FILES, files.cast(MEDIA_SCHEMA))):
            with replace_file(path.with_name(path.name + ending)) as temporary:
                pq.write_table(told, temporary)

    def report(self, accounts: Path, ordered: list[MediaRef], reused: int, media: MediaShape) -> ShardReport:
        """The accounts of a file, of the references that were given; tables of them lie at `accounts`."""
        file = self._file_digests.entry(accounts.name)
        clips = LedgerEntry(CLIPS, file.name, self.written + self.skipped, self.written, 0, self.skipped)
        return ShardReport(
            shard=self._shard,
            entry=LedgerEntry(STAGE, file.name, len(ordered), len(self._parts), len(self.failed)),
            records=self.written,
            accounts=str(accounts),
            failed=tuple(self.failed),
            duplicates=_duplicates(ordered),
            clips=clips if media.sound is not None else None,
            labels=tuple(sorted((label, split, n) for (label, split), n in self._labels.items())),
            media_bytes=self._media_bytes,
            digest=self._digest.hexdigest(),
            file=file,
            generations=tuple(
                Generation(number, records, digest % 2**128)
                for number, (records, digest) in sorted(self._generations.items())
            ),
            reused=reused,
        )


def _duplicates(ordered: list[MediaRef]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    counts = Counter(r.item_id for r in ordered)
    twice = [item_id for item_id, count in counts.items() if count > 1]
    return tuple((i, tuple(r.row for r in ordered if r.item_id == i)) for i in sorted(twice))
