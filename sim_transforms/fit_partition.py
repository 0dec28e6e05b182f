"""Vectors -> the partition into k-means cells, from a sample drawn by hash of item_id.

The sample holds some hundred items a cell whatever the size of the catalog, so that one worker can fit it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import apache_beam as beam
import numpy as np
import pyarrow as pa

from sim_transforms.hnsw.partition import Partition, fit_partition, sample_size, shard_cap
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.records.batches import vectors_of
from sim_transforms.resource_hints import Hints
from sim_transforms.settings.stages import IndexSettings


@dataclass
class FitPartition(beam.PTransform):
    """RecordBatches of item_id and embedding -> one Partition.

    Attributes:
        items: number of items in all, known before launch.
        settings: of the index.
        hints: of the step that holds the sample.
    """

    items: int
    settings: IndexSettings
    hints: Hints = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Partition]:
        """Samples, gathers the sample in one place and fits."""
        cap = shard_cap(self.items, self.settings)
        return (
            batches
            | "Sample" >> beam.FlatMap(draw_sample, sample_share(self.items, cap), self.settings.seed)
            | "Gather" >> beam.combiners.ToList()
            | "Fit" >> beam.Map(fit, self.items, cap, self.settings).with_resource_hints(**self.hints)
        )


def sample_share(items: int, cap: int) -> float:
    """Share of the items to sample."""
    return sample_size(items, cap) / max(items, 1)


def draw_sample(batch: pa.RecordBatch, share: float, seed: int) -> Iterator[pa.RecordBatch]:
    """The rows whose hash of item_id falls under `share`; nothing where there are none."""
    limit = int(share * 2**64)
    ids = batch.column("item_id").to_pylist()
    kept = [row for row, item_id in enumerate(ids) if _hash(item_id, seed) <= limit]
    if kept:
        yield batch.select(["item_id", "embedding"]).take(pa.array(kept, pa.int32()))


def _hash(item_id: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"sample:{seed}:{item_id}".encode()).digest()[:8], "big")


def fit(sample: Iterable[pa.RecordBatch], items: int, cap: int, settings: IndexSettings) -> Partition:
    """Fits on the sample in the order of item_id; one empty cell where there are no items."""
    batches = list(sample)
    if not batches:
        return fit_partition(np.zeros((0, 0), np.float32), items, cap, settings.seed)
    table = pa.Table.from_batches(batches).sort_by("item_id")
    places = space_of(settings.space).places(vectors_of(table.column("embedding")))
    return fit_partition(places, items, cap, settings.seed)
