"""Items -> ids that stand more than once. Ids travel in batches, vectors do not."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BUCKET_ITEMS = 100_000


@dataclass
class FindRepeats(beam.PTransform):
    """RecordBatches with item_id -> (item_id, how often) of each that stands more than once.

    Attributes:
        items: number of items in all, known before launch.
    """

    items: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[tuple[str, int]]:
        """Spreads ids by hash, counts them in each bucket."""
        buckets = 1 + self.items // BUCKET_ITEMS
        return (
            batches
            | "Spread" >> beam.FlatMap(spread_ids, buckets)
            | "Bucket" >> beam.GroupByKey()
            | "Count" >> beam.FlatMap(count_repeats)
        )


def spread_ids(batch: pa.RecordBatch, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cuts the ids of a batch into one batch a bucket."""
    ids = batch.select(["item_id"])
    numbers = np.array([zlib.crc32(i.encode()) % buckets for i in ids.column(0).to_pylist()], np.int64)
    for bucket in np.unique(numbers):
        yield int(bucket), ids.take(pa.array(np.flatnonzero(numbers == bucket)))


def count_repeats(element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[tuple[str, int]]:
    """The ids of a bucket that stand more than once."""
    _, batches = element
    counts = pc.value_counts(pa.Table.from_batches(list(batches)).column("item_id"))
    for entry in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist():
        yield entry["values"], entry["counts"]
