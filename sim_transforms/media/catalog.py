"""Catalogs: CSV, Parquet, JSON Lines, a folder with one sub-folder a class, or tar and zip files with such folders.

Columns beside item_id, uri, label and split are metadata; of CSV their types are inferred over the whole file, as
pyarrow does (`0042` is the number 42 there: put such columns into Parquet or JSON Lines to keep them text).

A catalog is planned on the driver (columns, types, number of rows, parts) and read part by part on the workers. What is
wrong with the catalog as a whole is a CatalogError; what is wrong with a row makes that row a FailedItem.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sim_transforms.errors import CatalogError
from sim_transforms.media.archive import SUFFIXES, Member, archives_of, file_of, is_member, members
from sim_transforms.records.items import MAX_ID_BYTES, FailedItem, MediaRef, Scalar, split_of

OWN_COLUMNS = ("item_id", "uri", "label", "split")
_RESERVED = ("row", "digest", "embedding", "shard")
_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
STAGE = "catalog"
_LONGEST_URI = 4096
BAD_ID = "bad_item_id", f"item_id holds control characters, no valid Unicode, or more than {MAX_ID_BYTES} bytes"


@dataclass(frozen=True)
class CatalogPart:
    """A range of rows that one worker reads.

    Attributes:
        group: row group of a Parquet file.
        first_row: from 1 on.
        archive: name of the archive, "" where there is none; `rows` of its members.
    """

    group: int
    first_row: int
    archive: str = ""
    rows: int = 0


@dataclass(frozen=True)
class CatalogPlan:
    """What is known of a catalog before launch.

    Attributes:
        kind: csv, parquet, jsonl, folder or archives.
        path: absolute.
        metadata_columns: name -> "string", "int64", "double" or "bool"; sorted by name.
        rows: of the catalog.
        parts: together all rows.
        allow_outside: whether uris may leave the catalog's folder.
    """

    kind: str
    path: str
    metadata_columns: dict[str, str]
    rows: int
    parts: tuple[CatalogPart, ...]
    allow_outside: bool

    @property
    def folder(self) -> Path:
        """Folder that relative uris start from."""
        return Path(self.path) if self.kind == "folder" else Path(self.path).parent


def plan_catalog(source: str, allow_outside: bool) -> CatalogPlan:
    """Looks at a catalog without reading its media.

    Raises:
        CatalogError: no such file (with the nearest spelling), an unknown kind, missing columns, no rows.
    """
    plan = survey_catalog(source, allow_outside)
    if not plan.rows:
        raise CatalogError(f"catalog {source}: it holds no items")
    return plan


def survey_catalog(source: str, allow_outside: bool) -> CatalogPlan:
    """The same for a catalog that may hold no rows any more; raises CatalogError for all else."""
    path = Path(source).absolute()
    if not path.exists():
        raise CatalogError(f"catalog {source}: there is no such file or folder{_nearest(path)}")
    kind = "folder" if path.is_dir() else _SUFFIXES.get(path.suffix.lower(), "")
    if archives_of(path) and (kind != "folder" or not _files(path)):
        kind = "archives"
    if not kind:
        expected = ", ".join((*_SUFFIXES, *SUFFIXES))
        raise CatalogError(f"catalog {source}: one of {expected} or a folder is expected{_unpackable(path)}")
    if kind == "archives":
        rows, columns, parts = _survey_archives(path)
    else:
        rows, columns, parts = _survey_folder(path) if kind == "folder" else _survey(path, kind)
    return CatalogPlan(kind, str(path), columns, rows, parts, allow_outside)


def _nearest(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.5)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


def _unpackable(path: Path) -> str:
    packed = any(path.name.lower().endswith(end) for end in (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))
    return "; members of a compressed tar cannot be read one by one: unpack it to .tar" if packed else ""


def _survey_archives(path: Path) -> tuple[int, dict[str, str], tuple[CatalogPart, ...]]:
    rows, parts = 0, []
    for place, archive in enumerate(archives_of(path)):
        count = sum(1 for _ in members(archive))
        parts.append(CatalogPart(place, rows + 1, archive.name, count))
        rows += count
    return rows, {}, tuple(parts)


def _survey_folder(path: Path) -> tuple[int, dict[str, str], tuple[CatalogPart, ...]]:
    return len(_files(path)), {}, (CatalogPart(0, 1),)


def _survey(path: Path, kind: str) -> tuple[int, dict[str, str], tuple[CatalogPart, ...]]:
    """Rows, metadata columns and parts of a table."""
    try:
        if kind == "parquet":
            file = pq.ParquetFile(path)
            schema, rows = file.schema_arrow, file.metadata.num_rows
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        else:
            tables = list(_tables(path, kind))
            schema, rows = tables[0][0].schema, sum(t.num_rows for t, _ in tables)
            sizes = [rows]
    except (pa.ArrowException, OSError, IndexError, UnicodeDecodeError) as error:
        raise CatalogError(f"catalog {path}: not a readable {kind} file: {' '.join(str(error).split())}") from error
    firsts = [1 + sum(sizes[:group]) for group in range(len(sizes))]
    return rows, _columns(path, schema), tuple(CatalogPart(g, first) for g, first in enumerate(firsts))


def _columns(path: Path, schema: pa.Schema) -> dict[str, str]:
    missing = [name for name in ("item_id", "uri") if name not in schema.names]
    if missing:
        raise CatalogError(
            f"catalog {path}: no column {' and '.join(missing)}; found {', '.join(schema.names)}; "
            "item_id and uri are required, label and split are known, all others are carried as metadata"
        )
    taken = [name for name in schema.names if name in _RESERVED or schema.names.count(name) > 1]
    if taken:
        raise CatalogError(f"catalog {path}: column {taken[0]!r} stands twice or is a name that Ruiji uses; rename it")
    return {n: _type_name(schema.field(n).type) for n in sorted(schema.names) if n not in OWN_COLUMNS}


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return "int64"
    return "double" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else "string"


def _tables(path: Path, kind: str, group: int | None = None) -> Iterator[tuple[pa.Table, int]]:
    """Tables of a file with the number of rows before each."""
    if kind == "parquet":
        file = pq.ParquetFile(path)
        groups = range(file.metadata.num_row_groups) if group is None else [group]
        tables = [file.read_row_group(g) for g in groups]
    elif kind == "csv":
        own = {name: pa.string() for name in OWN_COLUMNS}  # so that ids keep leading zeros
        convert = pyarrow.csv.ConvertOptions(column_types=own, strings_can_be_null=True, null_values=[""])
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        tables = [pyarrow.csv.read_csv(path, convert_options=convert, parse_options=parse)]
    else:
        tables = [_read_json(path)]
    before = 0
    for table in tables:
        yield table, before
        before += table.num_rows


def _read_json(path: Path) -> pa.Table:
    """JSON Lines; a column of mixed kinds is taken as text, the others keep theirs."""
    rows = [
        _object(path, place + 1, line) for place, line in enumerate(path.read_text("utf-8-sig").splitlines()) if line
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns: dict[str, Any] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        kinds = {type(v) for v in values if v is not None}
        plain = kinds in ({bool}, {int}, {float}, {int, float}) and name not in OWN_COLUMNS
        columns[name] = (
            [float(v) if kinds == {int, float} and v is not None else v for v in values]
            if plain
            else [_as_text(v) for v in values]
        )
    return pa.table(columns)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise CatalogError(f"catalog {path}: line {number} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise CatalogError(f"catalog {path}: line {number} holds {line[:40]!r}; an object is expected")
    return row


def read_part(plan: CatalogPlan, part: CatalogPart, split_seed: int) -> Iterator[MediaRef | FailedItem]:
    """The rows of a part: a reference each, or why there is none."""
    if plan.kind == "folder":
        root = Path(plan.path)
        for place, path in enumerate(_files(root)):
            label = path.relative_to(root).parts[0]
            row: dict[str, Any] = {"item_id": path.relative_to(root).as_posix(), "uri": str(path), "label": label}
            yield reference(row, place + 1, plan, split_seed)
        return
    if plan.kind == "archives":
        count = 0
        for member in members(_archive_of(plan, part)):
            yield _member_reference(member, part.first_row + count, split_seed)
            count += 1
        if count != part.rows:
            raise CatalogError(
                f"catalog {part.archive}: it held {part.rows} members when the job began, and {count} now"
            )
        return
    group = part.group if plan.kind == "parquet" else None
    for table, before in _tables(Path(plan.path), plan.kind, group):
        for place, row in enumerate(table.to_pylist()):
            yield reference(row, part.first_row + before + place, plan, split_seed)


def _archive_of(plan: CatalogPlan, part: CatalogPart) -> Path:
    root = Path(plan.path)
    return root / part.archive if root.is_dir() else root


def _member_reference(member: Member, number: int, split_seed: int) -> MediaRef | FailedItem:
    """A member of an archive, named by its path there; its first folder is the label."""
    item_id, (folder, _, rest) = member.name, member.name.partition("/")
    if not is_valid_id(item_id):
        named = item_id.encode(errors="backslashreplace").decode()
        return FailedItem(named, member.uri, STAGE, *BAD_ID)
    return MediaRef(item_id, member.uri, folder if rest else "", split_of(item_id, split_seed), number)


def _files(root: Path) -> list[Path]:
    """Files in the sub-folders of `root`, in the order of their names; hidden ones are left out."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if Path(folder) != root:
            found += [Path(folder) / name for name in sorted(names) if not name.startswith(".")]
    return sorted(found, key=lambda p: p.relative_to(root).as_posix())


def reference(row: dict[str, Any], number: int, plan: CatalogPlan, split_seed: int) -> MediaRef | FailedItem:
    """One row of a catalog as a reference, or the reason why it is none."""
    item_id, uri = _text(row.get("item_id")), _text(row.get("uri"))
    named = item_id.encode(errors="backslashreplace").decode() or f"row {number}"
    uri = uri.encode(errors="surrogateescape").decode(errors="backslashreplace") if not is_valid_id(item_id) else uri
    problem = _problem(item_id, uri, _text(row.get("split")))
    if problem:
        return FailedItem(named, uri, STAGE, *problem)
    target = _resolve(uri, plan)
    if target is None:
        message = "the uri leaves the catalog's folder; catalog.allow_outside: true permits it"
        return FailedItem(named, uri, STAGE, "outside_catalog", message)
    metadata = tuple((name, _scalar(row.get(name), kind)) for name, kind in plan.metadata_columns.items())
    split = _text(row.get("split")) or split_of(item_id, split_seed)
    return MediaRef(item_id, target, _text(row.get("label")), split, number, metadata)


def _problem(item_id: str, uri: str, split: str) -> tuple[str, str] | None:
    if not item_id:
        return "missing_item_id", "the row has no item_id"
    if not is_valid_id(item_id):
        return BAD_ID
    if not uri:
        return "missing_uri", "the row has no uri"
    if len(uri) > _LONGEST_URI:
        return "bad_uri", f"the uri holds {len(uri):,} characters; at most {_LONGEST_URI:,} are a path"
    if "://" in uri and not uri.startswith("file://") and not is_member(uri):
        return "unsupported_uri", f"{uri.split('://')[0]}:// is not read; a path is expected"
    if split not in ("", "train", "test"):
        return "bad_split", f"split is {split!r}; train, test or nothing is expected"
    return None


def is_valid_id(item_id: str) -> bool:
    """Whether an id is Unicode without control characters and of at most 1,024 bytes."""
    try:
        size = len(item_id.encode())
    except UnicodeEncodeError:
        return False
    return size <= MAX_ID_BYTES and not any(ord(c) < 32 or ord(c) == 127 for c in item_id)


def _resolve(uri: str, plan: CatalogPlan) -> str | None:
    """Absolute path of a uri, or null where it leaves the catalog's folder and must not."""
    if "\0" in uri:
        return None
    try:
        path = Path(file_of(uri.removeprefix("file://")))
    except ValueError:
        return None
    target = path if path.is_absolute() else plan.folder / path
    found = uri if is_member(uri) else str(target)
    if plan.allow_outside:
        return found
    inside = os.path.realpath(target)
    root = os.path.realpath(plan.folder)
    return found if inside == root or inside.startswith(root + os.sep) else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _scalar(value: Any, kind: str) -> Scalar:
    if value is None:
        return None
    if kind == "double":
        number = float(value)
        return number if number == number and abs(number) != float("inf") else None
    if kind == "string":
        return _as_text(value)
    return bool(value) if kind == "bool" else int(value)


def _as_text(value: Any) -> str | None:
    """Text as it is, dates in ISO 8601, null as null, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return str(value.isoformat()) if hasattr(value, "isoformat") else json.dumps(value, default=str, sort_keys=True)


def catalog_stat_digest(plan: CatalogPlan) -> str:
    """Digest for skipping: the rows, and size and modification time of every media file; no media is read."""
    digest = hashlib.sha256(repr((plan.kind, plan.path, plan.allow_outside, plan.metadata_columns)).encode())
    for part in plan.parts:
        if plan.kind == "archives":
            # What is in an archive is known by the archive's own stamp; it need not be listed again.
            digest.update(repr(part).encode())
            digest.update(_stamp(str(_archive_of(plan, part))).encode())
            continue
        for entry in read_part(plan, part, split_seed=0):
            digest.update(repr(entry).encode())
            digest.update(_stamp(entry.uri).encode())
    return digest.hexdigest()


def _stamp(uri: str) -> str:
    try:
        status = os.stat(file_of(uri))
    except (OSError, ValueError):
        return "missing\n"
    return f"{status.st_size} {status.st_mtime_ns}\n"
