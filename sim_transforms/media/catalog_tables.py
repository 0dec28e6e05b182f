"""Catalogs that are tables: CSV, Parquet, JSON Lines.

Columns beside item_id, uri, label and split are metadata; of CSV their types are inferred over the whole file, as
pyarrow does (`0042` is the number 42 there: put such columns into Parquet or JSON Lines to keep them text).
"""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sim_transforms.errors import CatalogError

OWN_COLUMNS = ("item_id", "uri", "label", "split")
TABLES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_RESERVED = ("row", "digest", "embedding", "shard")


def table_kind(name: str) -> str:
    """csv, parquet or jsonl by the end of a file's name, "" for others."""
    return TABLES.get(PurePosixPath(name).suffix.lower(), "")


def survey_table(path: Path, kind: str, source: str) -> tuple[dict[str, str], list[int]]:
    """Metadata columns with their types, and the rows of each row group (of what has none: of all).

    Args:
        path: of the file.
        kind: csv, parquet or jsonl.
        source: what messages call it.

    Raises:
        CatalogError: it cannot be read, or its columns are not those of a catalog.
    """
    try:
        if kind == "parquet":
            file = pq.ParquetFile(path)
            schema = file.schema_arrow
            sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        else:
            tables = list(read_tables(path, kind, source))
            schema, sizes = tables[0][0].schema, [sum(t.num_rows for t, _ in tables)]
    except (pa.ArrowException, OSError, IndexError, UnicodeDecodeError) as error:
        raise CatalogError(f"catalog {source}: not a readable {kind} file: {' '.join(str(error).split())}") from error
    return _columns(source, schema), sizes


def _columns(source: str, schema: pa.Schema) -> dict[str, str]:
    missing = [name for name in ("item_id", "uri") if name not in schema.names]
    if missing:
        raise CatalogError(
            f"catalog {source}: no column {' and '.join(missing)}; found {', '.join(schema.names)}; "
            "item_id and uri are required, label and split are known, all others are carried as metadata"
        )
    taken = [name for name in schema.names if name in _RESERVED or schema.names.count(name) > 1]
    if taken:
        raise CatalogError(
            f"catalog {source}: column {taken[0]!r} stands twice or is a name that Ruiji uses; rename it"
        )
    return {n: _type_name(schema.field(n).type) for n in sorted(schema.names) if n not in OWN_COLUMNS}


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return "int64"
    return "double" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else "string"


def read_tables(path: Path, kind: str, source: str, group: int | None = None) -> Iterator[tuple[pa.Table, int]]:
    """Tables of a file with the number of rows before each; arguments as of `survey_table`, or one row group alone."""
    tables: Iterator[pa.Table]
    if kind == "parquet":
        file = pq.ParquetFile(path)
        groups = range(file.metadata.num_row_groups) if group is None else [group]
        tables = map(file.read_row_group, groups)
    elif kind == "csv":
        own = {name: pa.string() for name in OWN_COLUMNS}  # so that ids keep leading zeros
        convert = pyarrow.csv.ConvertOptions(column_types=own, strings_can_be_null=True, null_values=[""])
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        tables = iter([pyarrow.csv.read_csv(path, convert_options=convert, parse_options=parse)])
    else:
        tables = iter([_read_json(path, source)])
    before = 0
    for table in tables:
        yield table, before
        before += table.num_rows


def _read_json(path: Path, source: str) -> pa.Table:
    """JSON Lines; a column of mixed kinds is taken as text, the others keep theirs."""
    rows = [
        _object(source, place + 1, line) for place, line in enumerate(path.read_text("utf-8-sig").splitlines()) if line
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
            else [as_text(v) for v in values]
        )
    return pa.table(columns)


def _object(source: str, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise CatalogError(f"catalog {source}: line {number} is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise CatalogError(f"catalog {source}: line {number} holds {line[:40]!r}; an object is expected")
    return row


def as_text(value: Any) -> str | None:
    """Text as it is, dates in ISO 8601, null as null, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return str(value.isoformat()) if hasattr(value, "isoformat") else json.dumps(value, default=str, sort_keys=True)
