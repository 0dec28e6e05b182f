"""Vectors made elsewhere: where they stand, and a batch of them as it was read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, order=True)
class VectorPiece:
    """A part of a file that one worker reads.

    Attributes:
        path: absolute, of a .parquet or .npy file.
        first: first row group of a Parquet file, first row of an .npy file.
        count: row groups or rows.
        row: row of the file that the piece starts with, from 0.
        ids: text file of one id a line for .npy, or "" where the row number is the id.
        ids_offset: byte of that file at which the piece's first id starts.
    """

    path: str
    first: int
    count: int
    row: int
    ids: str = ""
    ids_offset: int = 0

    @property
    def name(self) -> str:
        """Short and unique within a source."""
        return f"{self.path.rsplit('/', 1)[-1]}:{self.row}"


@dataclass(frozen=True)
class VectorSource:
    """Files of vectors, looked at before launch.

    Attributes:
        pieces: together all rows.
        items: rows.
        dimension: of the vectors.
        metadata_columns: name -> "string", "int64", "double" or "bool", sorted by name.
        files: (path, bytes, nanoseconds of the last change) of each, for the skipping of stages.
    """

    pieces: tuple[VectorPiece, ...]
    items: int
    dimension: int
    metadata_columns: dict[str, str]
    files: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class VectorBatch:
    """Consecutive rows of a piece.

    Attributes:
        row: row of the file that the batch starts with.
        columns: RecordBatch of item_id (text, null where there is none or an empty one) and the metadata.
        vectors: [n, dim] float32; NaN in rows that have no such vector.
        reasons: [n] null, or why the row cannot be used: missing_vector, wrong_length, missing_id, bad_item_id.
    """

    row: int
    columns: pa.RecordBatch
    vectors: Array
    reasons: tuple[str | None, ...]
