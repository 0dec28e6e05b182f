"""Items -> ids that stand more than once, and where. Ids and places travel in batches, vectors do not."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sim_transforms.errors import CatalogError
from sim_transforms.records.vectors import VectorPiece

BUCKET_ITEMS = 100_000
# What a message shows; no bucket hands back more, so that a file given twice stays a small result.
SHOWN, PLACES = 10, 4


@dataclass(frozen=True, order=True)
class Repeat:
    """An id that stands more than once.

    Attributes:
        times: how often.
        places: (file, row from 0) of the first few.
    """

    item_id: str
    times: int
    places: tuple[tuple[str, int], ...]


@dataclass(frozen=True, order=True)
class Repeats:
    """Of one bucket: how many ids stand more than once, and the first few of them."""

    count: int
    shown: tuple[Repeat, ...]


@dataclass
class FindRepeats(beam.PTransform):
    """RecordBatches of item_id, file and row -> Repeats of each bucket that has any.

    Attributes:
        items: number of items in all, known before launch.
    """

    items: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Repeats]:
        """Spreads ids by hash, counts them in each bucket."""
        buckets = 1 + self.items // BUCKET_ITEMS
        return (
            batches
            | "Spread" >> beam.FlatMap(spread_ids, buckets)
            | "Bucket" >> beam.GroupByKey()
            | "Count" >> beam.FlatMap(count_repeats)
        )


def spread_ids(batch: pa.RecordBatch, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cuts a batch into one batch a bucket."""
    numbers = np.array([zlib.crc32(i.encode()) % buckets for i in batch.column("item_id").to_pylist()], np.int64)
    for bucket in np.unique(numbers):
        yield int(bucket), batch.take(pa.array(np.flatnonzero(numbers == bucket)))


def count_repeats(element: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[Repeats]:
    """The ids of a bucket that stand more than once."""
    _, batches = element
    table = pa.Table.from_batches([_plain_file(batch) for batch in batches])
    counts = pc.value_counts(table.column("item_id"))
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        names = pa.table({"item_id": repeated.field("values"), "times": repeated.field("counts")})
        shown = names.sort_by("item_id").slice(0, SHOWN).to_pylist()
        yield Repeats(len(repeated), tuple(_repeat(table, entry["item_id"], entry["times"]) for entry in shown))


def _plain_file(batch: pa.RecordBatch) -> pa.RecordBatch:
    # Batches of several files have dictionaries of their own.
    place = batch.schema.get_field_index("file")
    return batch.set_column(place, "file", batch.column("file").cast(pa.string()))


def _repeat(table: pa.Table, item_id: str, times: int) -> Repeat:
    rows = table.filter(pc.equal(table.column("item_id"), item_id))
    places = sorted(zip(rows.column("file").to_pylist(), rows.column("row").to_pylist(), strict=True))
    return Repeat(item_id, times, tuple(places[:PLACES]))


def unless_repeated(piece: VectorPiece, repeats: Iterable[Repeats]) -> Iterator[VectorPiece]:
    """Lets a piece pass where no id stands twice, so that nothing is built of what will be refused."""
    if not any(True for _ in repeats):
        yield piece


def refuse_repeats(repeats: Sequence[Repeats]) -> None:
    """Raises CatalogError naming the first ids of all buckets, with their places."""
    if not repeats:
        return
    count = sum(entry.count for entry in repeats)
    first = sorted(repeat for entry in repeats for repeat in entry.shown)[:SHOWN]
    more = f"; and {count - SHOWN} more" if count > SHOWN else ""
    raise CatalogError(
        f"{count} item_id(s) stand more than once: {'; '.join(_shown(repeat) for repeat in first)}{more} "
        "(file#row, counted from 0); ids must be unique"
    )


def _shown(repeat: Repeat) -> str:
    places = ", ".join(f"{file}#{row}" for file, row in repeat.places)
    further = ", ..." if repeat.times > len(repeat.places) else ""
    return f"{repeat.item_id!r} ({repeat.times} times: {places}{further})"
