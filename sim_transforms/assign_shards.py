"""Vectors and centroids -> shards: each item in its nearest cell, overfull cells split, one Arrow file a shard."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa

from sim_transforms.hnsw.partition import centroid_of, nearest_cells, split_cell
from sim_transforms.records.batches import Array, ShardFile, ShardKey, ShardPlan, vectors_of
from sim_transforms.storage.files import replace_file


@dataclass
class AssignShards(beam.PTransform):
    """RecordBatches of prepared items -> ShardFile a shard of at most `cap` items.

    Attributes:
        centroids: side input, [c, dim] float32.
        output: folder of the shard files.
        cap: most items of a shard.
        seed: of the splits.
    """

    centroids: beam.pvalue.AsSingleton
    output: str
    cap: int
    seed: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[ShardFile]:
        """Assigns, groups by cell, splits and writes."""
        return (
            batches
            | "Assign" >> beam.FlatMap(assign_cells, self.centroids)
            | "GroupByCell" >> beam.GroupByKey()
            | "SplitAndWrite" >> beam.FlatMap(write_cell, self.output, self.cap, self.seed)
        )


def assign_cells(batch: pa.RecordBatch, centroids: Array) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cuts a batch into one batch a cell."""
    cells = nearest_cells(vectors_of(batch.column("embedding")), centroids, 1)[:, 0]
    for cell in np.unique(cells):
        yield int(cell), batch.take(pa.array(np.flatnonzero(cells == cell)))


def write_cell(group: tuple[int, Iterable[pa.RecordBatch]], output: str, cap: int, seed: int) -> Iterator[ShardFile]:
    """Sorts a cell by item_id, splits it to the cap, writes one file a part."""
    cell, batches = group
    table = pa.Table.from_batches(list(batches)).combine_chunks().sort_by("item_id")
    parts = split_cell(vectors_of(table.column("embedding")), cap, seed)
    for part in range(math.ceil(parts.max(initial=-1)) + 1):
        yield _write_part(table.take(pa.array(np.flatnonzero(parts == part))), ShardKey(cell, part), output)


def _write_part(table: pa.Table, key: ShardKey, output: str) -> ShardFile:
    path = Path(output) / f"shard-{key.cell:06d}-{key.part:03d}.arrow"
    with replace_file(path) as temporary, pa.ipc.new_file(temporary, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    centroid = centroid_of(vectors_of(table.column("embedding")))
    return ShardFile(key, str(path), table.num_rows, centroid.astype("<f4").tobytes())


def read_shard(path: str) -> pa.Table:
    """The table of a shard file, memory-mapped."""
    with pa.memory_map(path) as source:
        return pa.ipc.open_file(source).read_all()


def plan_shards(files: Iterable[ShardFile]) -> list[ShardPlan]:
    """Numbers the shards in the order of their keys and their rows by prefix sums of their sizes."""
    plans, first = [], 0
    for number, file in enumerate(sorted(files, key=lambda f: f.key)):
        plans.append(ShardPlan(number, first, file))
        first += file.items
    return plans


def centroids_of(plans: Iterable[ShardPlan]) -> Array:
    """[shards, dim] float32 in shard order."""
    return np.stack([np.frombuffer(p.file.centroid, "<f4") for p in plans])
