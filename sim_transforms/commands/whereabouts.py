"""Where items stand: in the versions of a store, in the artefacts of a working directory, in its catalog.

Only looks; `why` shows it and `forget` removes by it. Reads the columns that it needs, of the row groups that may hold
an item, and no media. What is made of sounds holds their clips, `<item_id>#<start>`: there the id of a sound stands for
all its clips.
"""

import difflib
import itertools
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.media.catalog import read_part, survey_catalog
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles
from sim_transforms.records.clips import sound_of
from sim_transforms.records.items import FailedItem, MediaRef
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import load_manifest, object_name

ITEMS = "items.parquet"
# Relative to the working directory: of preprocessing or reindex, of index, and the copy among the examples.
REJECTS = ("rejects.parquet", "index_rejects.parquet", "examples/rejects.parquet")
# Ids that are compared by spelling at most: a comparison takes some 20 microseconds.
_MOST_COMPARED = 50_000
_LENGTHS_APART = 3
_Filters: TypeAlias = list[list[tuple[str, str, Any]]]


@dataclass(frozen=True)
class Rejected:
    """A row of a rejects file.

    Attributes:
        file: relative to the working directory.
        written: when the file was written, ISO 8601 in UTC.
    """

    stage: str
    reason: str
    message: str
    uri: str
    file: str
    written: str


class IndexedRow(NamedTuple):
    """A row of a version, and the id that it has there: of an item, or of a clip."""

    item_id: str
    row: int


class RecordAt(NamedTuple):
    """A record of `examples/`: whose, the number of its shard, its byte offset and length."""

    item_id: str
    shard: int
    offset: int
    length: int


def iso_time(seconds: float) -> str:
    """A time since 1970 as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@contextmanager
def stored_items(store: ObjectStore, version: str) -> Iterator[Path]:
    """A version's items.parquet as a file; of a remote store a copy that is gone afterwards.

    Raises:
        NotFound: the version, or its file, is not there.
    """
    name = object_name(version, ITEMS)
    path = store.local_path(name)
    if path is not None:
        if not path.is_file():
            raise NotFound(f"{path} is missing")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ruiji-items-") as folder:
        copy = Path(folder) / ITEMS
        store.download(name, copy)
        yield copy


def holds_clips(store: ObjectStore, version: str) -> bool:
    """Whether the items of a version are clips; true too where no manifest tells, so that both are looked for."""
    try:
        return load_manifest(store, version).clips is not None
    except (NotFound, DamagedArtefact):
        return True


def rows_in_version(
    store: ObjectStore, version: str, ids: Collection[str], clips: bool
) -> dict[str, tuple[IndexedRow, ...]]:
    """The row of each of the items that a version holds, or those of the clips of each of the sounds, ascending.

    Args:
        store: that holds the version.
        version: its id.
        ids: of items, sounds or clips.
        clips: whether its items are clips (`holds_clips`).

    Raises:
        NotFound: the version, or its items.parquet, is not there.
        DamagedArtefact: that file cannot be read.
    """
    with stored_items(store, version) as path:
        found = _rows_with(path, ids, ["item_id", "row"], clips)
    rows = zip(found.column("item_id").to_pylist(), found.column("row").to_pylist(), strict=True)
    by_row = sorted((IndexedRow(*row) for row in rows), key=lambda r: r.row)
    named = named_by([row.item_id for row in by_row], ids, clips)
    return {item_id: tuple(by_row[place] for place in places) for item_id, places in named.items()}


def digest_in_version(store: ObjectStore, version: str, item_id: str) -> str | None:
    """Digest of the media of an indexed item or clip; raises as `rows_in_version` does."""
    with stored_items(store, version) as path:
        found = _rows_with(path, [item_id], ["digest"])
    return str(found.column("digest")[0].as_py()) if found.num_rows else None


def named_by(item_ids: Sequence[str], ids: Collection[str], clips: bool) -> dict[str, list[int]]:
    """Places in a list of the ids that are sought: those of their clips where they are sounds that have some there."""
    exact: dict[str, list[int]] = {}
    of_sound: dict[str, list[int]] = {}
    for place, item_id in enumerate(item_ids):
        if item_id in ids:
            exact.setdefault(item_id, []).append(place)
        if clips and sound_of(item_id) in ids:
            of_sound.setdefault(sound_of(item_id), []).append(place)
    return {**exact, **of_sound}


def ids_of_version(store: ObjectStore, version: str) -> list[str]:
    """All item ids of a version; raises as `rows_in_version` does."""
    with stored_items(store, version) as path:
        ids: list[str] = _read(path, ["item_id"]).column("item_id").to_pylist()
    return ids


def places_in_examples(workdir: Path, ids: Collection[str], clips: bool = False) -> dict[str, tuple[RecordAt, ...]]:
    """The record of each of the items that `examples/` holds, or those of the clips of each of the sounds."""
    path = workdir / "examples" / "offsets.parquet"
    if not path.is_file():
        return {}
    found = _rows_with(path, ids, ["item_id", "shard", "offset", "length"], clips)
    records = [RecordAt(*record) for record in zip(*found.to_pydict().values(), strict=True)]
    named = named_by([record.item_id for record in records], ids, clips)
    return {item_id: tuple(records[place] for place in places) for item_id, places in named.items()}


def files_with(folder: Path, pattern: str, ids: Collection[str], clips: bool = False) -> dict[str, list[str]]:
    """Name of each Parquet file below a folder that holds some of the items, or clips of the sounds -> those ids."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob(pattern))}
    found = {name: _rows_with(path, ids, ["item_id"], clips) for name, path in paths.items()}
    named = {name: named_by(rows.column("item_id").to_pylist(), ids, clips) for name, rows in found.items()}
    return {name: list(held) for name, held in named.items() if held}


def rejects_of(workdir: Path, ids: Collection[str], clips: bool = False) -> dict[str, list[Rejected]]:
    """What the rejects files of a working directory say of some items; of sounds too what is said of their clips."""
    found: dict[str, list[Rejected]] = {}
    for name in REJECTS:
        path = workdir / name
        if not path.is_file():
            continue
        written = iso_time(path.stat().st_mtime)
        columns = ["item_id", "stage", "reason", "message", "uri"]
        rows = _rows_with(path, ids, columns, clips).to_pylist()
        said = [Rejected(row["stage"], row["reason"], row["message"], row["uri"], name, written) for row in rows]
        for item_id, places in named_by([row["item_id"] for row in rows], ids, clips).items():
            found.setdefault(item_id, []).extend(said[place] for place in places)
    return found


def catalog_entries(
    source: str, allow_outside: bool, files: RemoteFiles = LOCAL_ONLY
) -> Iterator[MediaRef | FailedItem]:
    """All rows of a catalog, which may be empty.

    Args:
        source: the catalog.
        allow_outside: whether its uris may leave its folder.
        files: where a catalog with a scheme lies.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    plan = survey_catalog(source, allow_outside, files)
    for part in plan.parts:
        yield from read_part(plan, part, 0, files)


def catalog_rows(source: str, allow_outside: bool, files: RemoteFiles = LOCAL_ONLY) -> Iterator[tuple[str, int | None]]:
    """(item_id, row) of all rows, the row null where it is no reference; arguments as of `catalog_entries`."""
    for entry in catalog_entries(source, allow_outside, files):
        yield entry.item_id, None if isinstance(entry, FailedItem) else entry.row


def nearest_ids(item_id: str, known: Iterable[str]) -> list[str]:
    """The ids that are spelt most like one, at most three, best first."""
    alike = (other for other in known if abs(len(other) - len(item_id)) <= _LENGTHS_APART)
    compared = sorted(set(itertools.islice(alike, _MOST_COMPARED)))
    return difflib.get_close_matches(item_id, compared, n=3, cutoff=0.7)


def _rows_with(path: Path, ids: Collection[str], columns: list[str], clips: bool = False) -> pa.Table:
    """All rows of some ids; with `clips` also those of their clips, and of others that stand between these."""
    filters: _Filters = [[("item_id", "in", sorted(ids))]]
    if clips and ids:
        # `$` is the character after `#`.
        filters.append([("item_id", ">=", min(ids)), ("item_id", "<", max(f"{item_id}$" for item_id in ids))])
    return _read(path, columns, filters)


def _read(path: Path, columns: list[str], filters: _Filters | None = None) -> pa.Table:
    try:
        return (
            pq.ParquetFile(path).read(columns)
            if filters is None
            else pq.read_table(path, columns=columns, filters=filters, partitioning=None)
        )
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DamagedArtefact(f"{path} cannot be read: {' '.join(str(error).split())}") from error
