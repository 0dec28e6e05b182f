"""A catalog against what is published: which items are new, changed, gone, or the same without reading their media.

References, published items and what is remembered of files meet by a hash of the catalog's item_id, which of a
published clip is its sound's: a sound is compared as one, by the digest of its file. A file whose size and modification
time are those that its digest was taken at is not read again; remote ones are known by listings.
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
from sim_transforms.media.parts import MAX_FILE_BYTES
from sim_transforms.media.remote import FileStatus, RemoteFiles, Statuses, is_remote, local_status
from sim_transforms.read_catalog import FAILED, ReadCatalog
from sim_transforms.records.clips import SOURCE_ID, START
from sim_transforms.records.items import FailedItem, MediaRef, Scalar
from sim_transforms.send_together import SendTogether, entries_of
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


class Place(NamedTuple):
    """A published row: of an item, or of a clip, which has an id of its own and begins at `start` seconds."""

    row: int
    item_id: str
    start: float | None = None


class KnownItem(NamedTuple):
    """A published item, or clip; `item_id` is the catalog's, `metadata` is sorted by name, without a clip's own."""

    item_id: str
    place: Place
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
    """One item of the catalog.

    Attributes:
        kind: `metadata`: the media are the same, something else is not; `repeated`: the catalog gives the id twice.
        places: rows of the published item, or of the clips of a sound, ascending; none where it is not published.
        digest: of the published item's media, "" where there is none.
        reference: of the catalog, null where it is removed.
        rows: of the catalog that give a repeated id, those that are no reference left out.
    """

    kind: Kind
    item_id: str
    places: tuple[Place, ...]
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
        clips: whether the published items are clips of the catalog's sounds.
        most_bytes: larger files are not read to compare them.
        reread: whether media are read even where their files look the same.
        spill: folder where what meets waits, or null (`group_in_files`).
    """

    reader: ReadCatalog
    items: str
    sources: str
    fresh: str
    buckets: int
    clips: bool = False
    most_bytes: int = MAX_FILE_BYTES
    reread: bool = False
    spill: str | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Any:
        """Reads all three, lets them meet, compares."""
        rows = pipeline | "ReadCatalog" >> self.reader
        groups = list(range(pq.ParquetFile(self.items).metadata.num_row_groups))
        files = [str(path) for path in sorted(Path(self.sources).glob("*.parquet"))]
        known = pipeline | "Groups" >> beam.Create(groups) | "Known" >> beam.FlatMap(read_known, self.items, self.clips)
        sources = pipeline | "Files" >> beam.Create(files) | "Sources" >> beam.FlatMap(read_sources)
        keyed = [
            part | f"Bucket {number}" >> beam.ParDo(SendTogether(self.buckets))
            for number, part in enumerate((rows.references, known, sources, rows[FAILED]))
        ]
        met = keyed | "Together" >> beam.Flatten() | "Meet" >> GroupInFiles(self.spill)
        return {
            "differences": met | "Compare" >> beam.Map(compare, self.fresh, self.reread, self.most_bytes),
            FAILED: rows[FAILED],
        }


def read_known(group: int, items: str, clips: bool = False) -> Iterator[KnownItem]:
    """The items of one row group of items.parquet, which may be clips."""
    table = pq.ParquetFile(items).read_row_group(group)
    own = (*_OWN, SOURCE_ID, START) if clips else _OWN
    further = sorted(name for name in table.column_names if name not in own)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    nothing = [""] * table.num_rows
    for number in range(table.num_rows):
        metadata = tuple((name, columns[name][number]) for name in further)
        label, digest = (columns.get(name, nothing)[number] or "" for name in ("label", "digest"))
        row, item_id = columns["row"][number], columns["item_id"][number]
        place = Place(row, item_id, columns[START][number] if clips else None)
        yield KnownItem(columns[SOURCE_ID][number] if clips else item_id, place, label, digest, metadata)


def read_sources(path: str) -> Iterator[KnownSource]:
    """What one file of `sources` remembers."""
    for row in pq.read_table(path).to_pylist():
        yield KnownSource(**row)


class _Sides:
    """What is known of one item from each side."""

    def __init__(self) -> None:
        self.references: list[MediaRef] = []
        self.known: list[KnownItem] = []
        self.source: KnownSource | None = None
        self.rows = 0

    def add(self, entry: Any) -> None:
        """Sorts an entry in; `rows` counts those of the catalog, also what is no reference."""
        self.rows += isinstance(entry, MediaRef | FailedItem)
        if isinstance(entry, MediaRef):
            self.references.append(entry)
        elif isinstance(entry, KnownItem):
            self.known.append(entry)
        elif isinstance(entry, KnownSource):
            self.source = entry

    def published(self) -> tuple[tuple[Place, ...], str]:
        """Where it stands, and the digest of its media."""
        places = tuple(sorted(known.place for known in self.known))
        return places, min((known.digest for known in self.known), default="")


def compare(
    element: tuple[int, Iterable[bytes]], fresh: str, reread: bool, most_bytes: int = MAX_FILE_BYTES
) -> BucketDiff:
    """Compares one bucket and writes what is known of its files now."""
    bucket, lists = element
    sides: dict[str, _Sides] = {}
    for entry in entries_of(lists):
        sides.setdefault(entry.item_id, _Sides()).add(entry)
    references = {item_id: min(side.references) for item_id, side in sorted(sides.items()) if side.references}
    sources, files_read = _sources(references, sides, reread, most_bytes, BeamFiles())
    differences, same = [], 0
    for item_id in sorted(sides):
        side, reference = sides[item_id], references.get(item_id)
        places, digest = side.published()
        if reference is None:
            if places:
                differences.append(Difference("removed", item_id, places, digest, None))
        elif side.rows > 1:
            repeated = tuple(sorted(r.row for r in side.references))
            differences.append(Difference("repeated", item_id, places, digest, reference, repeated))
        elif (kind := _kind(reference, side.known, sources.get(item_id))) == "same":
            same += 1
        else:
            differences.append(Difference(kind, item_id, places, digest, reference))
    _write_sources(Path(fresh) / f"sources-{bucket:06d}.parquet", [sources[item_id] for item_id in sorted(sources)])
    return BucketDiff(tuple(differences), same, files_read)


def _sources(
    references: dict[str, MediaRef], sides: dict[str, _Sides], reread: bool, most_bytes: int, files: RemoteFiles
) -> tuple[dict[str, KnownSource], int]:
    """What is known of files now, as remembered where they look the same, else read; and how many were read."""
    statuses = Statuses(files, _MOST_LISTED)
    sources: dict[str, KnownSource] = {}
    unknown: list[tuple[MediaRef, FileStatus | None]] = []
    for item_id, reference in references.items():
        side = sides[item_id]
        if side.rows > 1 or (side.source is None and not side.known):
            continue
        # Before the file is read: should it change after that, it will look changed the next time.
        status = statuses.of(reference.uri)
        if side.source is not None and not reread and _looks_the_same(reference, status, side.source):
            sources[item_id] = side.source
        elif side.known:
            unknown.append((reference, status))
    uris = [reference.uri for reference, _ in unknown]
    with FetchAhead(uris, files, _FETCH_SECONDS, most_bytes) as paths:
        found = paths.results(_read(*seen, path, most_bytes) for seen, path in zip(unknown, paths, strict=True))
        sources.update((source.item_id, source) for source in found if isinstance(source, KnownSource))
    return sources, len(unknown)


def _kind(reference: MediaRef, known: list[KnownItem], source: KnownSource | None) -> Kind:
    """All clips of a sound hold the digest of its file, and are the same together or not at all."""
    if not known:
        return "added"
    if source is None or any(item.digest != source.digest for item in known):
        return "changed"
    own = (reference.label, reference.metadata)
    return "same" if all((item.label, item.metadata) == own for item in known) else "metadata"


def _looks_the_same(reference: MediaRef, status: FileStatus | None, source: KnownSource) -> bool:
    return source.uri == reference.uri and status == (source.size_bytes, source.modified_ns)


def _read(reference: MediaRef, before: FileStatus | None, path: str, most_bytes: int) -> KnownSource | None:
    """Takes the digest of a file that lies at `path`; null where it cannot be read, or changes meanwhile."""
    try:
        data = read_media(path, most_bytes)
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
