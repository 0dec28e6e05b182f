"""`embeddings/` -> RecordBatches of items with prepared vectors; what cannot be indexed is rejected with a reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.hnsw.spaces import space_of
from sim_transforms.records.batches import column_of, vectors_of
from sim_transforms.records.items import FailedItem
from sim_transforms.records.ledger import LedgerEntry

BATCH_ROWS = 4096
FAILED = "failed"
LEDGER = "ledger"

_MESSAGES = {
    "not_finite": "the vector holds NaN or infinite values",
    "zero_vector": "the vector has length 0, which has no direction in the space cosine",
    "too_long": "the vector is longer than 2^62; distances from it would be infinite or NaN",
}


@dataclass
class ReadEmbeddings(beam.PTransform):
    """Paths of Parquet files -> main output: RecordBatches; `failed`: FailedItem; `ledger`: LedgerEntry a file.

    Attributes:
        space: name of the index's space.
    """

    space: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, paths: beam.PCollection[str]) -> Any:
        """Spreads the files over the workers and reads each."""
        reader = beam.ParDo(_Read(self.space)).with_outputs(FAILED, LEDGER, main="batches")
        return paths | "Spread" >> beam.Reshuffle() | "Read" >> reader


_Output: TypeAlias = (
    pa.RecordBatch
    | beam.pvalue.TaggedOutput[Literal["failed"], FailedItem]
    | beam.pvalue.TaggedOutput[Literal["ledger"], LedgerEntry]
)


class _Read(beam.DoFn):
    def __init__(self, space: str) -> None:
        self._space = space

    def process(self, path: str) -> Iterator[_Output]:
        """Reads one file in batches."""
        rows = rejected = 0
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            kept, failed = prepare_batch(batch, self._space)
            rows, rejected = rows + batch.num_rows, rejected + len(failed)
            yield from (beam.pvalue.TaggedOutput(FAILED, item) for item in failed)
            if kept.num_rows:
                yield kept
        entry = LedgerEntry("index", path.rsplit("/", 1)[-1], rows, rows - rejected, rejected)
        yield beam.pvalue.TaggedOutput(LEDGER, entry)


def prepare_batch(batch: pa.RecordBatch, space: str) -> tuple[pa.RecordBatch, list[FailedItem]]:
    """Prepares the vectors for the space and takes out the rows that have none.

    The column `split` is left behind: it belongs to evaluation, not to the index.
    """
    vectors = vectors_of(batch.column("embedding"))
    reasons = space_of(space).reject_reasons(vectors)
    keep = [row for row, reason in enumerate(reasons) if reason is None]
    names = [n for n in batch.schema.names if n not in ("split", "embedding")]
    rows = batch.select(names).take(pa.array(keep, pa.int32()))
    prepared = column_of(space_of(space).prepare(vectors[keep]))
    ids = batch.column("item_id").to_pylist()
    failed = [
        FailedItem(ids[row], "", "index", reason, _MESSAGES.get(reason, reason))
        for row, reason in enumerate(reasons)
        if reason is not None
    ]
    return rows.append_column("embedding", prepared), failed
