"""Parquet files of anyone's making, read in bounded memory as plain columns, whatever stands in them.

Two habits of pyarrow are avoided. It holds a column of a row group whole unless a buffer is asked for: 488 MiB in place
of 110 for 200,000 vectors of dimension 512. And where the writer has noted an Arrow schema in the footer it restores
that, and then cannot read a null in a fixed-size list; so the note is renamed in the footer that the reader is given,
and such columns are plain lists.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.records.items import MAX_ID_BYTES

_BUFFER_BYTES = 2**20
_NOTE, _OTHER_NOTE = b"ARROW:schema", b"RUIJI:schema"
_TAIL = 8  # length of the footer (u32), magic

_TYPES = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}


def open_plain(path: str | Path) -> pq.ParquetFile:
    """Opens a file without the Arrow schema that its writer may have noted; close it, or use it in `with`."""
    return pq.ParquetFile(path, metadata=_plain_metadata(Path(path)), pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _plain_metadata(path: Path) -> pq.FileMetaData:
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(end - _TAIL)
        tail = file.read(_TAIL)
        length = int.from_bytes(tail[:4], "little")
        file.seek(end - _TAIL - length)
        footer = file.read(length)
    return pq.read_metadata(pa.BufferReader(b"PAR1" + footer.replace(_NOTE, _OTHER_NOTE) + tail))


def carried(column: pa.Array, kind: str) -> pa.Array:
    """A column of metadata as `kind` ("string", "int64", "double", "bool").

    NaN and infinite numbers become null, because JSON has no word for them; bytes that are no UTF-8 are escaped.
    """
    if kind == "string":
        return _mended(column.cast(pa.string()))
    cast = column.cast(_TYPES[kind])
    return pc.if_else(pc.is_finite(cast), cast, None) if kind == "double" else cast


def ids_of(column: pa.Array) -> tuple[pa.Array, list[int]]:
    """Ids as text, null where there is none or an empty one, and the rows whose id cannot be used.

    As in a catalog an id holds no control characters, is valid Unicode and has at most 1,024 bytes.
    """
    text = column.cast(pa.string())
    ids = _mended(text)
    bad = set(_undecodable(text)) if ids is not text else set()
    odd = pc.or_(pc.match_substring_regex(ids, r"[\x00-\x1f\x7f]"), pc.greater(pc.binary_length(ids), MAX_ID_BYTES))
    bad.update(pc.indices_nonzero(pc.fill_null(odd, False)).to_pylist())
    return pc.if_else(pc.equal(ids, ""), None, ids), sorted(bad)


def _mended(text: pa.Array) -> pa.Array:
    """The same array where all of it is UTF-8, else a copy with the other bytes escaped."""
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        values = text.cast(pa.binary()).to_pylist()
        return pa.array([v if v is None else v.decode(errors="backslashreplace") for v in values], pa.string())
    return text


def _undecodable(text: pa.Array) -> list[int]:
    """Rows that are no UTF-8."""
    return [row for row, v in enumerate(text.cast(pa.binary()).to_pylist()) if v is not None and not _is_utf8(v)]


def _is_utf8(value: bytes) -> bool:
    return value.decode(errors="replace").encode() == value
