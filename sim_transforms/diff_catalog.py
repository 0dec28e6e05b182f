"""A catalog against what is published: which items are new, changed, gone, or the same without reading their media.

References, published items and what is remembered of files meet by a hash of the item_id. A file whose size and
modification time are those that its digest was taken at is not read again; remote ones are known by listings.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.beam_files import BeamFiles
from sim_transforms.errors import MediaError
from sim_transforms.group_in_files import GroupInFiles
from sim_transforms.media.fetch_ahead import FetchAhead
from sim_transforms.media.image import read_media
from sim_transforms.media.remote import FileStatus, RemoteFiles, Statuses, is_remote, local_status
from sim_transforms.read_catalog import FAILED, ReadCatalog
from sim_transforms.records.items import FailedItem, MediaRef, Scalar, shard_of
from sim_transforms.storage.files import replace_file

Kind = Literal["added", "changed", "metadata", "removed", "same", "repeated"]
BUCKET_ITEMS = 20_000
# What does not come in this time counts as changed; preprocessing then says what is wrong with it.
_FETCH_SECONDS = 60.0
# What a worker keeps of listings: 150 MB.
_MOST_LISTED = 500_000
_OWN = ("row", "item_id", "label", "digest")
_SOURCES = pa.schema(
    [
        ("item_id", pa.string()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified_ns", pa.int64()),
        ("digest", pa.string()),
    ]
)


class KnownItem(NamedTuple):
    """A published item; `metadata` sorted by name."""

    item_id: str
    row: int
    label: str
    digest: str
    metadata: tuple[tuple[str, Scalar], ...]


class KnownSource(NamedTuple):
    """What a file was like when its digest (SHA-256 of its content) was taken."""

    item_id: str
    uri: str
    size_bytes: int
    modified_ns: int
    digest: str


@dataclass(frozen=True)
class Difference:
    """One item.

    Attributes:
        kind: `metadata`: the media are the same, something else is not; `repeated`: the catalog gives the id twice.
        row: of the published item, -1 where there is none.
        digest: of the published item's media, "" where there is none.
        reference: of the catalog, null where it is removed.
        rows: of the catalog that give a repeated id, those that are no reference left out.
    """

    kind: Kind
    item_id: str
    row: int
    digest: str
    reference: MediaRef | None
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class BucketDiff:
    """What became of the items of one bucket.

    Attributes:
        differences: all but those that are the same.
        same: how many are.
        files_read: media that were read to compare them.
    """

    differences: tuple[Difference, ...]
    same: int
    files_read: int


@dataclass
class DiffCatalog(beam.PTransform):
    """Pipeline -> main output: BucketDiffs; `failed`: FailedItem for rows of the catalog that are no reference.

    Attributes:
        reader: of the catalog.
        items: items.parquet of the published version.
        sources: folder of what is remembered of files, may be missing; `fresh`: empty folder for what is known now.
        buckets: parts that are compared side by side.
        reread: whether media are read even where their files look the same.
        spill: folder where what meets waits, or null (`group_in_files`).
    """

    reader: ReadCatalog
    items: str
    sources: str
    fresh: str
    buckets: int
    reread: bool = False
    spill: str | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Any:
        """Reads all three, lets them meet, compares."""
        rows = pipeline | "ReadCatalog" >> self.reader
        groups = list(range(pq.ParquetFile(self.items).metadata.num_row_groups))
        files = [str(path) for path in sorted(Path(self.sources).glob("*.parquet"))]
        known = pipeline | "Groups" >> beam.Create(groups) | "Known" >> beam.FlatMap(read_known, self.items)
        sources = pipeline | "Files" >> beam.Create(files) | "Sources" >> beam.FlatMap(read_sources)
        keyed = [
            part | f"Bucket {number}" >> beam.Map(by_bucket, self.buckets)
            for number, part in enumerate((rows.references, known, sources, rows[FAILED]))
        ]
        met = keyed | "Together" >> beam.Flatten() | "Meet" >> GroupInFiles(self.spill)
        return {
            "differences": met | "Compare" >> beam.Map(compare, self.fresh, self.reread),
            FAILED: rows[FAILED],
        }


def read_known(group: int, items: str) -> Iterator[KnownItem]:
    """The items of one row group of items.parquet."""
    table = pq.ParquetFile(items).read_row_group(group)
    further = sorted(name for name in table.column_names if name not in _OWN)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    nothing = [""] * table.num_rows
    for place in range(table.num_rows):
        metadata = tuple((name, columns[name][place]) for name in further)
        label, digest = (columns.get(name, nothing)[place] or "" for name in ("label", "digest"))
        yield KnownItem(columns["item_id"][place], columns["row"][place], label, digest, metadata)


def read_sources(path: str) -> Iterator[KnownSource]:
    """What one file of `sources` remembers."""
    for row in pq.read_table(path).to_pylist():
        yield KnownSource(**row)


def by_bucket(entry: Any, buckets: int) -> tuple[int, Any]:
    """Keys a reference, a published item or a source by the hash of its id."""
    return shard_of(entry.item_id, buckets), entry


class _Sides:
    """What is known of one item from each side."""

    def __init__(self) -> None:
        self.references: list[MediaRef] = []
        self.known: KnownItem | None = None
        self.source: KnownSource | None = None
        self.rows = 0

    def add(self, entry: Any) -> None:
        """Sorts an entry in; `rows` counts those of the catalog, also what is no reference."""
        self.rows += isinstance(entry, MediaRef | FailedItem)
        if isinstance(entry, MediaRef):
            self.references.append(entry)
        elif isinstance(entry, KnownItem):
            self.known = entry
        elif isinstance(entry, KnownSource):
            self.source = entry


def compare(element: tuple[int, Iterable[Any]], fresh: str, reread: bool) -> BucketDiff:
    """Compares one bucket and writes what is known of its files now."""
    bucket, entries = element
    sides: dict[str, _Sides] = {}
    for entry in entries:
        sides.setdefault(entry.item_id, _Sides()).add(entry)
    references = {item_id: min(side.references) for item_id, side in sorted(sides.items()) if side.references}
    sources, files_read = _sources(references, sides, reread, BeamFiles())
    differences, same = [], 0
    for item_id in sorted(sides):
        side, reference = sides[item_id], references.get(item_id)
        row, digest = (side.known.row, side.known.digest) if side.known is not None else (-1, "")
        if reference is None:
            if side.known is not None:
                differences.append(Difference("removed", item_id, row, digest, None))
        elif side.rows > 1:
            repeated = tuple(sorted(r.row for r in side.references))
            differences.append(Difference("repeated", item_id, row, digest, reference, repeated))
        elif (kind := _kind(reference, side.known, sources.get(item_id))) == "same":
            same += 1
        else:
            differences.append(Difference(kind, item_id, row, digest, reference))
    _write_sources(Path(fresh) / f"sources-{bucket:06d}.parquet", [sources[item_id] for item_id in sorted(sources)])
    return BucketDiff(tuple(differences), same, files_read)


def _sources(
    references: dict[str, MediaRef], sides: dict[str, _Sides], reread: bool, files: RemoteFiles
) -> tuple[dict[str, KnownSource], int]:
    """What is known of files now, as remembered where they look the same, else read; and how many were read."""
    statuses = Statuses(files, _MOST_LISTED)
    sources: dict[str, KnownSource] = {}
    unknown: list[tuple[MediaRef, FileStatus | None]] = []
    for item_id, reference in references.items():
        side = sides[item_id]
        if side.rows > 1 or (side.source is None and side.known is None):
            continue
        # Before the file is read: should it change after that, it will look changed the next time.
        status = statuses.of(reference.uri)
        if side.source is not None and not reread and _looks_the_same(reference, status, side.source):
            sources[item_id] = side.source
        elif side.known is not None:
            unknown.append((reference, status))
    with FetchAhead([reference.uri for reference, _ in unknown], files, _FETCH_SECONDS) as paths:
        found = paths.results(_read(*seen, path) for seen, path in zip(unknown, paths, strict=True))
        sources.update((source.item_id, source) for source in found if isinstance(source, KnownSource))
    return sources, len(unknown)


def _kind(reference: MediaRef, known: KnownItem | None, source: KnownSource | None) -> Kind:
    if known is None:
        return "added"
    if source is None or source.digest != known.digest:
        return "changed"
    return "same" if (reference.label, reference.metadata) == (known.label, known.metadata) else "metadata"


def _looks_the_same(reference: MediaRef, status: FileStatus | None, source: KnownSource) -> bool:
    return source.uri == reference.uri and status == (source.size_bytes, source.modified_ns)


def _read(reference: MediaRef, before: FileStatus | None, path: str) -> KnownSource | None:
    """Takes the digest of a file that lies at `path`; null where it cannot be read, or changes meanwhile."""
    try:
        data = read_media(path)
    except MediaError:
        return None
    if before is None or (not is_remote(reference.uri) and local_status(reference.uri) != before):
        return None
    return KnownSource(reference.item_id, reference.uri, *before, hashlib.sha256(data).hexdigest())


def _write_sources(path: Path, sources: list[KnownSource]) -> None:
    with replace_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist([source._asdict() for source in sources], _SOURCES), temporary)


@dataclass(frozen=True)
class CatalogDiff:
    """All differences of a catalog.

    Attributes:
        differences: by item_id, none that is the same.
        failed: rows of the catalog that are no reference.
        same: items of which nothing has changed.
        files_read: media that were read to compare them.
    """

    differences: tuple[Difference, ...]
    failed: tuple[FailedItem, ...]
    same: int
    files_read: int

    def of(self, *kinds: Kind) -> list[Difference]:
        """Those of some kinds."""
        return [difference for difference in self.differences if difference.kind in kinds]


def gather_diff(buckets: Iterable[BucketDiff], failed: Iterable[FailedItem]) -> CatalogDiff:
    """Puts the buckets together."""
    parts = list(buckets)
    differences = sorted((d for part in parts for d in part.differences), key=_by_id)
    same, files_read = sum(part.same for part in parts), sum(part.files_read for part in parts)
    return CatalogDiff(tuple(differences), tuple(sorted(failed)), same, files_read)


def _by_id(difference: Difference) -> str:
    return difference.item_id
