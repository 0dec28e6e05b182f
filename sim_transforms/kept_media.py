"""What earlier runs have decoded: a file that looks the same as then is not decoded again.

`<workdir>/decoded/<key>/` holds the TFRecord file of each shard, which `examples/` has by a hard link, and beside it a
table of the files behind its records. The key stands for all that decoded bytes depend on but the files themselves.

A run writes into `pending/` beside them, which takes their place once its examples are accepted: one that is refused
for its rejects or its drift costs neither what was kept nor what it has decoded.

A table is removed before the TFRecord file beside it is replaced, and written after it, so that a killed run leaves
whole pairs, and TFRecord files that nothing is known of. Should two attempts at a shard meet, a record that is not the
one that was looked for is noticed by its checksum, its id and the digest of its file; of one file both decode the same.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact, MediaError, one_line
from sim_transforms.features.example_format import decode_example
from sim_transforms.media.guard import Decoded
from sim_transforms.media.parts import FileFacts, Part, Parts
from sim_transforms.media.remote import FileStatus
from sim_transforms.records.clips import START, clip_id
from sim_transforms.records.items import MediaRef
from sim_transforms.records.kept import PENDING, records_beside
from sim_transforms.storage.files import replace_file
from sim_transforms.storage.tfrecord import read_range, split_records

FACTS = tuple(FileFacts.__dataclass_fields__)
KEPT_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),  # of the catalog
        ("uri", pa.string()),
        ("status_bytes", pa.int64()),  # of the file, or its archive, as it looked before it was read
        ("modified_ns", pa.int64()),  # null where the file may have changed unseen while it was read
        ("label", pa.string()),
        ("split", pa.string()),
        ("generation", pa.int32()),  # with which it was analysed; 0 of rejected files
        ("offset", pa.int64()),  # byte at which the file's records start
        ("length", pa.int64()),  # bytes of all of them, framing included
        ("digest", pa.string()),  # SHA-256 of the file
        ("skipped", pa.int32()),  # silent clips
        *((name, pa.float64() if name == "seconds" else pa.int64()) for name in FACTS),
        ("reason", pa.string()),  # of rejected files
        ("message", pa.string()),
    ]
)
# Rejects for reasons that may be gone without the file looking any different.
_PASSING = frozenset(("crashed", "forbidden", "missing", "out_of_memory", "timeout", "unreadable"))
# A file that was changed so shortly before it was looked at may change again without looking different.
_SETTLED_NS = 2_000_000_000
_NAME = re.compile(r"examples-(\d{5,})-of-(\d{5,})\.tfrecord(?:\.gz)?\.parquet")


@dataclass(frozen=True)
class Keep:
    """How a run keeps and takes up what is decoded.

    Attributes:
        folder: `<workdir>/decoded/<key>`.
        generation: of the records that are new or not as they were.
        merged: generations whose records go to it too.
        retry: whether rejected files are all tried again.
        takes_up: whether what is there is taken up.
    """

    folder: str
    generation: int = 1
    merged: frozenset[int] = frozenset()
    retry: bool = False
    takes_up: bool = True

    @property
    def pending(self) -> Path:
        """Where the run writes."""
        return Path(self.folder) / PENDING


class KeptFile(NamedTuple):
    """What a table says of one file, and which TFRecord file it stands beside."""

    path: Path
    row: Mapping[str, Any]

    @property
    def is_reject(self) -> bool:
        """Whether it was rejected."""
        return self.row["reason"] is not None


class KeptMedia:
    """Looks the files of a shard up; a context manager that closes what it opened.

    Args:
        keep: of the run, or null where nothing is kept.
        shard, shards: that is to be written; the tables may be of another number of shards.
    """

    def __init__(self, keep: Keep | None, shard: int, shards: int) -> None:
        self._keep, self._tables = keep, []
        self._open: dict[Path, int] = {}
        if keep is not None and keep.takes_up:
            folders = (Path(keep.folder), keep.pending)
            self._tables = [path for folder in folders for path in _tables_for(folder, shard, shards)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def find(self, references: list[MediaRef], statuses: list[FileStatus | None]) -> list[KeptFile | None]:
        """What can be taken up, a reference each; raises DamagedArtefact where a table cannot be read."""
        found: list[KeptFile | None] = [None] * len(references)
        if self._keep is None or not self._tables:
            return found
        places = {reference.item_id: place for place, reference in enumerate(references)}
        for path in self._tables:
            table = _read_table(path)
            known = pc.is_in(table.column("item_id"), pa.array(list(places), pa.string()))
            for row in table.filter(known).to_pylist():
                place = places[row["item_id"]]
                kept = KeptFile(records_beside(path), row)
                if _looks_the_same(references[place], statuses[place], row) and not self._tried_again(kept):
                    found[place] = kept
        return found

    def _tried_again(self, kept: KeptFile) -> bool:
        assert self._keep is not None
        return kept.is_reject and (self._keep.retry or kept.row["reason"] in _PASSING)

    def generation(self, reference: MediaRef, kept: KeptFile | None) -> int:
        """Of the records of a file: that which they were analysed with, where nothing has changed for the analysis."""
        keep = self._keep
        if keep is None:
            return 0
        if kept is None or (kept.row["label"], kept.row["split"]) != (reference.label, reference.split):
            return keep.generation
        number: int = kept.row["generation"]
        return keep.generation if number in keep.merged else number

    def content(self, kept: KeptFile) -> Decoded | MediaError:
        """What the decoder gave.

        Raises:
            DamagedArtefact: the records are not there as they were.
        """
        row = kept.row
        if kept.is_reject:
            return MediaError(row["reason"], row["message"])
        data = read_range(self._descriptor(kept.path), row["offset"], row["length"], str(kept.path))
        parts = tuple(_part(payload, kept) for payload in split_records(data, str(kept.path), row["offset"]))
        return Decoded(row["digest"], Parts(parts, row["skipped"], FileFacts(**{name: row[name] for name in FACTS})))

    def _descriptor(self, path: Path) -> int:
        if path not in self._open:
            try:
                self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise DamagedArtefact(f"{path} cannot be read: {error}") from error
        return self._open[path]


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=KEPT_SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise DamagedArtefact(f"{path} cannot be read: {one_line(error)}") from error


def _part(payload: bytes, kept: KeptFile) -> Part:
    record = decode_example(payload)
    told = dict(record.metadata).get(START) if record.item_id != kept.row["item_id"] else None
    start = float(told) if isinstance(told, float | int) else None
    own = clip_id(kept.row["item_id"], start)
    if (record.item_id, record.digest) != (own, kept.row["digest"]):
        raise DamagedArtefact(f"{kept.path}: {record.item_id!r} stands where {own!r} is expected")
    return Part(start, record.media)


def _looks_the_same(reference: MediaRef, status: FileStatus | None, row: Mapping[str, Any]) -> bool:
    if status is None or row["modified_ns"] is None:
        return False
    return reference.uri == row["uri"] and status == (row["status_bytes"], row["modified_ns"])


def _tables_for(folder: Path, shard: int, shards: int) -> Iterator[Path]:
    """Tables in which items of a shard can stand: all whose remainder fits, whatever number of shards they are of."""
    for path in sorted(folder.glob("examples-*.parquet")):
        named = _NAME.fullmatch(path.name)
        if named is None:
            continue
        common = math.gcd(shards, int(named[2]))
        if int(named[1]) % common == shard % common:
            yield path


class KeptRows:
    """The table of a shard, while it is written.

    Args:
        looked_ns: when the files were looked at, before any was read (`time.time_ns`).
    """

    def __init__(self, looked_ns: int) -> None:
        self._looked_ns = looked_ns
        self._columns: list[list[Any]] = [[] for _ in KEPT_SCHEMA]

    def add(
        self,
        reference: MediaRef,
        status: FileStatus | None,
        found: Decoded | MediaError,
        place: tuple[int, int, int],
    ) -> None:
        """Notes a file.

        Args:
            reference: of the catalog.
            status: of the file.
            found: what came of it.
            place: generation, offset and length of its records.
        """
        size, modified = status if status is not None else (0, None)
        if modified is not None and modified > self._looked_ns - _SETTLED_NS:
            modified = None
        row: list[Any] = [reference.item_id, reference.uri, size, modified, reference.label, reference.split, *place]
        if isinstance(found, MediaError):
            row += ["", 0, *(0 for _ in FACTS), found.reason, found.message]
        else:
            facts = found.content.facts
            row += [found.digest, found.content.skipped, *(getattr(facts, name) for name in FACTS), None, None]
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def table(self) -> pa.Table:
        """Of KEPT_SCHEMA, files in the order in which they were added."""
        arrays = [pa.array(column, field.type) for column, field in zip(self._columns, KEPT_SCHEMA, strict=True)]
        return pa.Table.from_arrays(arrays, schema=KEPT_SCHEMA)


def write_kept(table: pa.Table, path: Path) -> None:
    """Writes a shard's table beside its TFRecord file."""
    with replace_file(path) as temporary:
        pq.write_table(table, temporary)
