"""Reads vectors where they lie: Parquet files of item_id and embedding, or an .npy array with its ids in a text file.

Planned on the driver from the files' own metadata, read piece by piece on the workers; no file is ever held whole.
"""

import codecs
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.errors import UsageError
from sim_transforms.records.arrays import map_array
from sim_transforms.records.vectors import VectorBatch, VectorPiece, VectorSource
from sim_transforms.storage.plain_parquet import carried, ids_of, open_plain

Array = np.ndarray[Any, Any]

PIECE_BYTES = 64 * 2**20
BATCH_BYTES, BATCH_ROWS = 2 * 2**20, 4096
# Columns that the index writes itself.
_RESERVED = ("row", "_level")


def plan_vectors(path: Path, ids: Path | None = None) -> VectorSource:
    """Looks at a .parquet or .npy file, or at a folder of Parquet files, which are taken in the order of their names.

    Raises:
        UsageError: no such file, another kind, missing or unusable columns, ids that do not fit the rows.
    """
    path = path.absolute()
    if not path.exists():
        raise UsageError(f"--embeddings {path}: there is no such file or folder")
    if path.suffix == ".npy" and path.is_file():
        return _plan_array(path, ids)
    if ids is not None:
        raise UsageError(f"--ids {ids}: only an .npy file takes its ids from a text file; {path} is none")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or any(file.suffix != ".parquet" for file in files):
        raise UsageError(f"--embeddings {path}: a .parquet or .npy file, or a folder of .parquet files is expected")
    return plan_parquet(files)


def batch_rows(dimension: int) -> int:
    """Rows of a batch: at most 4,096, and 2 MiB of vectors."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES // (4 * max(dimension, 1))))


def read_piece(piece: VectorPiece, dimension: int) -> Iterator[VectorBatch]:
    """The rows of a piece in batches."""
    if piece.path.endswith(".npy"):
        yield from _read_array(piece, dimension)
        return
    groups, row = list(range(piece.first, piece.first + piece.count)), piece.row
    with open_plain(piece.path) as file:
        names = [name for name in file.schema_arrow.names if name != _SPLIT]
        rows = min(batch_rows(dimension), _rows_within(file.metadata, groups))
        for batch in file.iter_batches(rows, row_groups=groups, columns=names):
            yield _of_parquet(batch, row, dimension)
            row += batch.num_rows


def _rows_within(metadata: Any, groups: list[int]) -> int:
    """Rows of at most 4 MiB together, as wide as they are on average in these row groups."""
    rows = sum(metadata.row_group(group).num_rows for group in groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    return max(1, 2 * BATCH_BYTES * rows // max(size, 1))


def _plan_array(path: Path, ids: Path | None) -> VectorSource:
    try:
        array = map_array(path)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--embeddings {path}: no readable .npy file: {error}") from error
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise UsageError(f"--embeddings {path}: found {array.dtype} of shape {array.shape}; [n, dim] floats expected")
    items, dimension = array.shape
    rows = max(1, PIECE_BYTES // (4 * dimension))
    starts = range(0, items, rows)
    offsets = _line_offsets(ids, starts, items, path) if ids is not None else itertools.repeat(0)
    text = str(ids.absolute()) if ids is not None else ""
    pieces = [
        VectorPiece(str(path), start, min(rows, items - start), start, text, offset)
        for start, offset in zip(starts, offsets, strict=False)
    ]
    return VectorSource(tuple(pieces), items, dimension, {}, tuple(_stat(p) for p in (path, ids) if p is not None))


def _line_offsets(ids: Path, starts: range, items: int, path: Path) -> list[int]:
    """Byte at which each of the lines `starts` begins."""
    if not ids.is_file():
        raise UsageError(f"--ids {ids}: there is no such file")
    offsets, place, count = [], 0, 0
    with ids.open("rb") as file:
        for line in file:
            if count < items and count in starts:
                offsets.append(place)
            place, count = place + len(line), count + 1
            _check_line(line, count, ids)
    if count != items:
        raise UsageError(f"--ids {ids}: found {count:,} lines, but {path} holds {items:,} vectors; one id a line")
    return offsets


def _check_line(line: bytes, number: int, ids: Path) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"--ids {ids}: line {number}, {line.rstrip()[:40]!r}, is no UTF-8 text: {error}") from error


def _read_array(piece: VectorPiece, dimension: int) -> Iterator[VectorBatch]:
    ids = _read_ids(piece) if piece.ids else map(str, range(piece.first, piece.first + piece.count))
    end = piece.first + piece.count
    for start in range(piece.first, end, batch_rows(dimension)):
        with np.errstate(over="ignore"):
            rows = _rows_of(piece.path, start, min(start + batch_rows(dimension), end))
            vectors = np.ascontiguousarray(rows, np.float32)
        names, bad = ids_of(pa.array(itertools.islice(ids, len(vectors)), pa.string()))
        columns = pa.record_batch([names], ["item_id"])
        yield VectorBatch(start, columns, vectors, _reasons([None] * len(vectors), names, bad))


def _rows_of(path: str, start: int, end: int) -> Array:
    """[end - start, dim] of an .npy file. Read, not mapped: mapped pages count as memory of the worker."""
    array = map_array(path)
    if not array.flags.c_contiguous:
        return np.array(array[start:end])
    offset = array.offset + start * array.strides[0]
    rows = np.fromfile(path, array.dtype, (end - start) * array.shape[1], offset=offset)
    return rows.reshape(-1, array.shape[1])


def _read_ids(piece: VectorPiece) -> Iterator[str]:
    with open(piece.ids, "rb") as file:
        file.seek(piece.ids_offset)
        for number, line in enumerate(file):
            start = codecs.BOM_UTF8 if piece.ids_offset + number == 0 else b""
            yield line.removeprefix(start).rstrip(b"\n").removesuffix(b"\r").decode()


def _reasons(reasons: list[str | None], ids: pa.Array, bad: list[int]) -> tuple[str | None, ...]:
    """Why rows cannot be used; what is wrong with the id is said before what is wrong with the vector."""
    for row in bad:
        reasons[row] = "bad_item_id"
    for row in np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False)).tolist():
        reasons[row] = "missing_id"
    return tuple(reasons)


@dataclass(frozen=True)
class _Schema:
    """What all files of a source must agree on."""

    dimension: int | None
    metadata: dict[str, str]


def plan_parquet(files: Sequence[Path], dimension: int | None = None) -> VectorSource:
    """Looks at Parquet files, taken in the order given; `dimension` where it is known already."""
    if not files:
        return VectorSource((), 0, dimension or 1, {}, ())
    pieces: list[VectorPiece] = []
    schemas: list[tuple[Path, _Schema]] = []
    items = 0
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                schemas.append((path, _schema_of(path, file.schema_arrow)))
                pieces += _groups(path, file.metadata)
                items += file.metadata.num_rows
        except (OSError, pa.ArrowInvalid) as error:
            raise UsageError(f"--embeddings {path}: no readable Parquet file: {error}") from error
    found = dimension or _agreed_dimension(schemas) or _first_length(pieces)
    return VectorSource(tuple(pieces), items, found, _agreed_metadata(schemas), tuple(_stat(path) for path in files))


def _agreed_metadata(schemas: Sequence[tuple[Path, _Schema]]) -> dict[str, str]:
    first, schema = schemas[0]
    for path, other in schemas[1:]:
        if other.metadata != schema.metadata:
            differ = dict(sorted(other.metadata.items() ^ schema.metadata.items()))
            raise UsageError(f"--embeddings {path}: its columns differ from those of {first} in {', '.join(differ)}")
    return schema.metadata


def _agreed_dimension(schemas: Sequence[tuple[Path, _Schema]]) -> int | None:
    """The dimension that the schemas name, null where none does."""
    known = [(path, schema.dimension) for path, schema in schemas if schema.dimension is not None]
    for path, dimension in known[1:]:
        if dimension != known[0][1]:
            found = f"its vectors have {dimension} values, those of {known[0][0]} {known[0][1]}"
            raise UsageError(f"--embeddings {path}: {found}; one dimension is expected")
    return known[0][1] if known else None


def _groups(path: Path, metadata: Any) -> Iterator[VectorPiece]:
    """Consecutive row groups of some 64 MiB together."""
    first, row, size = 0, 0, 0
    rows_before = 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        row += metadata.row_group(group).num_rows
        if size >= PIECE_BYTES or group == metadata.num_row_groups - 1:
            yield VectorPiece(str(path), first, group + 1 - first, rows_before)
            first, size, rows_before = group + 1, 0, row


def _schema_of(path: Path, schema: pa.Schema) -> _Schema:
    for name in ("item_id", "embedding"):
        if name not in schema.names:
            raise UsageError(f"--embeddings {path}: found columns {schema.names}; item_id and embedding are expected")
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise UsageError(f"--embeddings {path}: the column {twice[0]} stands more than once; rename or drop one")
    kind = _value_type(schema.field("item_id").type)
    if not any(test(kind) for test in (*_TEXTS, pa.types.is_integer, pa.types.is_null)):
        raise UsageError(f"--embeddings {path}: item_id is {kind}; text or whole numbers are expected")
    vectors = schema.field("embedding").type
    fixed = pa.types.is_fixed_size_list(vectors)
    lists = fixed or pa.types.is_list(vectors) or pa.types.is_large_list(vectors)
    if not lists or not pa.types.is_floating(vectors.value_type) or (fixed and not vectors.list_size):
        raise UsageError(f"--embeddings {path}: embedding is {vectors}; lists of floats are expected")
    metadata = {name: _plain(path, schema.field(name)) for name in sorted(schema.names) if name not in _OWN}
    return _Schema(vectors.list_size if fixed else None, metadata)


_SPLIT = "split"  # belongs to evaluation, not to the index
_OWN = ("item_id", "embedding", _SPLIT)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _plain(path: Path, field: pa.Field) -> str:
    if field.name in _RESERVED:
        raise UsageError(f"--embeddings {path}: the column {field.name} is written by the index itself; rename it")
    kind = _value_type(field.type)
    for test, name in _PLAIN:
        if test(kind):
            return name
    raise UsageError(
        f"--embeddings {path}: the column {field.name} is {field.type}; text, numbers and booleans can be carried "
        "through: cast it, or leave it out"
    )


_PLAIN = (
    *((test, "string") for test in _TEXTS),
    (pa.types.is_uint64, "string"),  # as in a catalog: it may not fit int64
    (pa.types.is_integer, "int64"),
    (pa.types.is_floating, "double"),
    (pa.types.is_boolean, "bool"),
    (pa.types.is_null, "string"),
)


def _first_length(pieces: list[VectorPiece]) -> int:
    """Length of the first vector that there is; 1 where there is none."""
    for piece in pieces:
        with open_plain(piece.path) as file:
            groups = list(range(piece.first, piece.first + piece.count))
            for batch in file.iter_batches(64, row_groups=groups, columns=["embedding"]):
                lengths = pc.list_value_length(batch.column("embedding")).drop_null()
                found = [length for length in lengths.to_pylist() if length]
                if found:
                    return int(found[0])
    return 1


def _of_parquet(batch: pa.RecordBatch, row: int, dimension: int) -> VectorBatch:
    column = batch.column("embedding")
    lengths = pc.list_value_length(column)
    missing = column.is_null().to_numpy(zero_copy_only=False)
    fits = pc.fill_null(pc.equal(lengths, dimension), False).to_numpy(zero_copy_only=False)
    vectors = np.full((batch.num_rows, dimension), np.nan, np.float32)
    values = column.filter(pa.array(fits)).flatten().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        vectors[fits] = values.reshape(-1, dimension).astype(np.float32)
    reasons = ["missing_vector" if m else None if f else "wrong_length" for m, f in zip(missing, fits, strict=True)]
    ids, bad = ids_of(batch.column("item_id"))
    columns = {"item_id": ids}
    for field in sorted(batch.schema, key=lambda f: f.name):
        if field.name not in _OWN:
            columns[field.name] = carried(batch.column(field.name), _plain(Path(), field))
    return VectorBatch(row, pa.record_batch(columns), vectors, _reasons(reasons, ids, bad))


def _stat(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns
