"""Vectors -> RecordBatches of items with prepared vectors; what cannot be indexed is rejected with a reason."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import apache_beam as beam
import numpy as np
import pyarrow as pa

from sim_transforms.counters import count
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.records.batches import Array, column_of, vectors_of
from sim_transforms.records.items import FailedItem
from sim_transforms.records.ledger import LedgerEntry
from sim_transforms.records.vectors import VectorBatch, VectorPiece
from sim_transforms.storage.vector_files import read_piece

FAILED = "failed"
LEDGER = "ledger"
DIGESTS = "digests"
IDS = "ids"
STAGE = "index"

_MESSAGES = {
    "not_finite": "the vector holds NaN or infinite values",
    "zero_vector": "the vector has length 0, which has no direction in the space cosine",
    "too_long": "the vector is longer than 2^62; distances from it would be infinite or NaN",
    "missing_vector": "there is no vector",
    "wrong_length": "the vector has another length than the others",
    "missing_id": "there is no item_id",
    "bad_item_id": "item_id holds control characters, no valid Unicode, or more than 1,024 bytes",
}


@dataclass
class ReadEmbeddings(beam.PTransform):
    """VectorPieces -> RecordBatches; beside them `failed` FailedItem, `ledger` LedgerEntry and `digests` text a piece.

    A fourth output, `ids`: RecordBatches of item_id, file and row of all rows that have an id, rejected ones too.

    Attributes:
        space: name of the index's space.
        dimension: of the vectors.
        digest: whether content digests are wanted, which `sum_digests` joins.
        ids: whether the ids are wanted.
    """

    space: str
    dimension: int
    digest: bool
    ids: bool

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pieces: beam.PCollection[VectorPiece]) -> Any:
        """Spreads the pieces over the workers and reads each."""
        reader = beam.ParDo(_Read(self.space, self.dimension, self.digest, self.ids))
        return (
            pieces
            | "Spread" >> beam.Reshuffle()
            | "Read" >> reader.with_outputs(FAILED, LEDGER, DIGESTS, IDS, main="batches")
        )


_Output: TypeAlias = (
    pa.RecordBatch
    | beam.pvalue.TaggedOutput[Literal["failed"], FailedItem]
    | beam.pvalue.TaggedOutput[Literal["ledger"], LedgerEntry]
    | beam.pvalue.TaggedOutput[Literal["digests"], str]
    | beam.pvalue.TaggedOutput[Literal["ids"], pa.RecordBatch]
)


class _Read(beam.DoFn):
    def __init__(self, space: str, dimension: int, digest: bool, ids: bool) -> None:
        self._space, self._dimension, self._digest, self._ids = space, dimension, digest, ids

    def process(self, piece: VectorPiece) -> Iterator[_Output]:
        """Reads one piece in batches."""
        rows = rejected = content = 0
        for batch in read_piece(piece, self._dimension):
            kept, failed = prepare_batch(batch, piece, self._space)
            rows, rejected = rows + len(batch.vectors), rejected + len(failed)
            yield from (beam.pvalue.TaggedOutput(FAILED, item) for item in failed)
            if self._digest:
                content += _content(kept)
            if self._ids:
                yield beam.pvalue.TaggedOutput(IDS, places_of(batch, piece))
            if kept.num_rows:
                yield kept
        entry = LedgerEntry(STAGE, piece.name, rows, rows - rejected, rejected)
        yield beam.pvalue.TaggedOutput(LEDGER, count(entry))
        yield beam.pvalue.TaggedOutput(DIGESTS, f"{content:x}")


@dataclass
class ReadKept(beam.PTransform):
    """VectorPieces -> the same RecordBatches, read once more.

    Reading twice is cheaper than keeping all vectors between two passes, which is what a runner would do.

    Attributes:
        space: name of the index's space.
        dimension: of the vectors.
    """

    space: str
    dimension: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pieces: beam.PCollection[VectorPiece]) -> beam.PCollection[pa.RecordBatch]:
        """Spreads the pieces over the workers and reads each."""
        return pieces | "Spread" >> beam.Reshuffle() | "Read" >> beam.FlatMap(read_kept, self.space, self.dimension)


def read_kept(piece: VectorPiece, space: str, dimension: int) -> Iterator[pa.RecordBatch]:
    """The rows of a piece that can be indexed."""
    for batch in read_piece(piece, dimension):
        kept, _ = prepare_batch(batch, piece, space)
        if kept.num_rows:
            yield kept


def prepare_batch(batch: VectorBatch, piece: VectorPiece, space: str) -> tuple[pa.RecordBatch, list[FailedItem]]:
    """Prepares the vectors for the space and takes out the rows that cannot be indexed."""
    reasons = list(batch.reasons)
    for row, reason in enumerate(space_of(space).reject_reasons(batch.vectors)):
        reasons[row] = reasons[row] or reason
    ids = batch.columns.column("item_id")
    keep = [row for row, reason in enumerate(reasons) if reason is None]
    rows = batch.columns if len(keep) == len(reasons) else batch.columns.take(pa.array(keep, pa.int32()))
    failed = [
        FailedItem(ids[row].as_py() or "", f"{piece.path}#{batch.row + row}", STAGE, reason, _MESSAGES[reason])
        for row, reason in enumerate(reasons)
        if reason is not None
    ]
    return rows.append_column("embedding", column_of(space_of(space).prepare(batch.vectors[keep]))), failed


def places_of(batch: VectorBatch, piece: VectorPiece) -> pa.RecordBatch:
    """item_id, file (name, encoded as a dictionary) and row of the rows that have an id."""
    ids = batch.columns.column("item_id")
    file = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(ids), np.int8)), [piece.path.rsplit("/", 1)[-1]])
    rows = pa.array(np.arange(batch.row, batch.row + len(ids), dtype=np.int64))
    return pa.record_batch({"item_id": ids, "file": file, "row": rows}).filter(ids.is_valid())


def _content(batch: pa.RecordBatch) -> int:
    """Sum of the rows' digests: the same in whatever order and batches the rows come."""
    vectors: Array = vectors_of(batch.column("embedding"))
    others = [batch.column(name).to_pylist() for name in batch.schema.names if name != "embedding"]
    rows = zip(vectors, zip(*others, strict=True), strict=True)
    return sum(
        int.from_bytes(hashlib.sha256(vector.tobytes() + repr(names).encode()).digest(), "big")
        for vector, names in rows
    )


def sum_digests(digests: list[str]) -> str:
    """Hex SHA-256 sized digest of all rows, from those of the pieces."""
    return f"{sum(int(digest, 16) for digest in digests) % 2**256:064x}"
