"""Where items stand: in the versions of a store, in the artefacts of a working directory, in its catalog.

Only looks; `why` shows it and `forget` removes by it. Reads the columns that it needs, of the row groups that may hold
an item, and no media.
"""

import difflib
import itertools
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.media.catalog import read_part, survey_catalog
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles
from sim_transforms.records.items import FailedItem, MediaRef
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import object_name

ITEMS = "items.parquet"
# Relative to the working directory: of preprocessing or reindex, of index, and the copy among the examples.
REJECTS = ("rejects.parquet", "index_rejects.parquet", "examples/rejects.parquet")
# Ids that are compared by spelling at most: a comparison takes some 20 microseconds.
_MOST_COMPARED = 50_000
_LENGTHS_APART = 3


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


def rows_in_version(store: ObjectStore, version: str, ids: Collection[str]) -> dict[str, int]:
    """Row of each of the items that a version holds.

    Raises:
        NotFound: the version, or its items.parquet, is not there.
        DamagedArtefact: that file cannot be read.
    """
    with stored_items(store, version) as path:
        found = _rows_with(path, ids, ["item_id", "row"])
    return dict(zip(found.column("item_id").to_pylist(), found.column("row").to_pylist(), strict=True))


def ids_of_version(store: ObjectStore, version: str) -> list[str]:
    """All item ids of a version; raises as `rows_in_version` does."""
    with stored_items(store, version) as path:
        ids: list[str] = _read(path, ["item_id"]).column("item_id").to_pylist()
    return ids


def places_in_examples(workdir: Path, ids: Collection[str]) -> dict[str, tuple[int, int, int]]:
    """(shard, offset, length) of the record of each of the items that `examples/` holds."""
    path = workdir / "examples" / "offsets.parquet"
    if not path.is_file():
        return {}
    found = _rows_with(path, ids, ["item_id", "shard", "offset", "length"])
    return {item_id: tuple(place) for item_id, *place in zip(*found.to_pydict().values(), strict=True)}


def files_with(folder: Path, pattern: str, ids: Collection[str]) -> dict[str, list[str]]:
    """Name of each Parquet file of a folder that holds some of the items -> those."""
    found = {path.name: _rows_with(path, ids, ["item_id"]) for path in sorted(folder.glob(pattern))}
    return {name: rows.column("item_id").to_pylist() for name, rows in found.items() if rows.num_rows}


def rejects_of(workdir: Path, ids: Collection[str]) -> dict[str, list[Rejected]]:
    """What the rejects files of a working directory say of some items."""
    found: dict[str, list[Rejected]] = {}
    for name in REJECTS:
        path = workdir / name
        if not path.is_file():
            continue
        written = iso_time(path.stat().st_mtime)
        for row in _rows_with(path, ids, ["item_id", "stage", "reason", "message", "uri"]).to_pylist():
            said = Rejected(row["stage"], row["reason"], row["message"], row["uri"], name, written)
            found.setdefault(row["item_id"], []).append(said)
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


def _rows_with(path: Path, ids: Collection[str], columns: list[str]) -> pa.Table:
    return _read(path, columns, [("item_id", "in", sorted(ids))])


def _read(path: Path, columns: list[str], filters: list[tuple[str, str, list[str]]] | None = None) -> pa.Table:
    try:
        return (
            pq.ParquetFile(path).read(columns)
            if filters is None
            else pq.read_table(path, columns=columns, filters=filters, partitioning=None)
        )
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DamagedArtefact(f"{path} cannot be read: {' '.join(str(error).split())}") from error
