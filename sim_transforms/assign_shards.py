"""Vectors and partition -> shards: each item in its group, overfull groups split, one Arrow file a shard."""

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from sim_transforms.group_in_files import GroupInFiles
from sim_transforms.hnsw.cells import Cells, arrange
from sim_transforms.hnsw.levels import draw_levels, highest, of_distinct
from sim_transforms.hnsw.memory import give_memory_back
from sim_transforms.hnsw.partition import Partition, centroid_of, shard_cap, split_cell
from sim_transforms.hnsw.spaces import longest_of, space_of
from sim_transforms.records.arrays import load_arrays
from sim_transforms.records.batches import Array, ShardFile, ShardKey, ShardPlan, vectors_of
from sim_transforms.resource_hints import Hints
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import replace_file

# Columns of a shard file that are the index's own, not the catalog's.
OWN_COLUMNS = ("embedding", "_level")
_WAITING_BYTES = 16 * 2**20


@dataclass
class AssignShards(beam.PTransform):
    """RecordBatches of prepared items -> ShardFile a shard.

    Attributes:
        partition: side input, a Partition.
        output: folder of the shard files.
        items: number of items in all, known before launch.
        settings: of the index.
        spill: folder where grouped vectors wait, or null (`group_in_files`).
        hints: of the step that holds a group.
    """

    partition: beam.pvalue.AsSingleton
    output: str
    items: int
    settings: IndexSettings
    spill: str | None = None
    hints: Hints = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[ShardFile]:
        """Assigns, groups, splits and writes."""
        cap = shard_cap(self.items, self.settings)
        return (
            batches
            | "Assign" >> beam.ParDo(AssignGroups(self.settings.space), self.partition)
            | "GroupItems" >> GroupInFiles(self.spill)
            | "SplitAndWrite"
            >> beam.FlatMap(write_group, self.output, cap, self.settings).with_resource_hints(**self.hints)
        )


class AssignGroups(beam.DoFn):
    """RecordBatches -> (group, RecordBatch of some of its items), with a side input, a Partition.

    Batches wait for others, because with many groups nearly every item of one batch goes to another: then what travels
    costs more than what it carries.

    Args:
        space: name of the index's space.
        most_bytes: that wait in a worker.
    """

    def __init__(self, space: str, most_bytes: int = _WAITING_BYTES) -> None:
        self._space, self._most_bytes = space, most_bytes
        self._waiting: list[tuple[pa.RecordBatch, Array]] = []
        self._bytes = 0

    def start_bundle(self) -> None:
        """Nothing waits yet."""
        self._waiting, self._bytes = [], 0

    def process(self, batch: pa.RecordBatch, partition: Partition) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Assigns a batch, and cuts those that wait."""
        places = space_of(self._space).places(vectors_of(batch.column("embedding")))
        self._waiting.append((batch, partition.groups_of(places, batch.column("item_id").to_pylist())))
        self._bytes += batch.nbytes
        if self._bytes >= self._most_bytes:
            yield from self._cut()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Cuts what is left."""
        for element in self._cut():
            window = GlobalWindow()
            yield WindowedValue(element, window.max_timestamp(), [window])

    def _cut(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        batches, found = zip(*waiting, strict=True)
        table, groups = pa.Table.from_batches(batches).combine_chunks(), np.concatenate(found)
        order = np.argsort(groups, kind="stable")
        numbers, starts = np.unique(groups[order], return_index=True)
        for number, rows in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            # Copied: of a slice a pickle would hold the whole.
            (batch,) = table.take(pa.array(rows)).combine_chunks().to_batches()
            yield number, batch


def write_group(
    element: tuple[int, Iterable[pa.RecordBatch]], output: str, cap: int, settings: IndexSettings
) -> Iterator[ShardFile]:
    """Sorts a group by item_id, splits it to the cap, writes one file a part."""
    group, batches = element
    table = pa.Table.from_batches(list(batches)).combine_chunks().sort_by("item_id")
    parts = split_cell(space_of(settings.space).places(vectors_of(table.column("embedding"))), cap, settings.seed)
    for part in range(math.ceil(parts.max(initial=-1)) + 1):
        rows = table.take(pa.array(np.flatnonzero(parts == part)))
        yield _write_part(rows, ShardKey(group, part), output, settings)


def _write_part(table: pa.Table, key: ShardKey, output: str, settings: IndexSettings) -> ShardFile:
    path = Path(output) / f"shard-{key.cell:06d}-{key.part:03d}.arrow"
    space = space_of(settings.space)
    order, cells = arrange(vectors_of(table.column("embedding")), space)
    table = table.take(pa.array(order))
    drawn = draw_levels(table.column("item_id").to_pylist(), settings.m, settings.seed)
    levels = of_distinct(drawn, cells.distinct)
    table = table.append_column("_level", pa.array(levels)).replace_schema_metadata({"cells": _pack(cells)})
    with replace_file(path) as temporary, pa.ipc.new_file(temporary, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    vectors = vectors_of(table.column("embedding"))
    centroid = centroid_of(space.places(vectors)).astype("<f4").tobytes()
    return ShardFile(key, str(path), table.num_rows, highest(levels), centroid, longest_of(vectors))


def read_shard(path: str) -> pa.Table:
    """The table of a shard file, memory-mapped."""
    with pa.memory_map(path) as source:
        return pa.ipc.open_file(source).read_all()


def shard_arrays(path: str) -> tuple[Array, Cells, Array]:
    """(vectors [n, d] float32, their cells, levels [n] int8) of a shard file.

    Each step on a shard begins here, so here the memory of the step before it is given back.
    """
    give_memory_back()
    table = read_shard(path)
    cells = _unpack(table.schema.metadata[b"cells"])
    return vectors_of(table.column("embedding")), cells, table.column("_level").to_numpy()


def _pack(cells: Cells) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, centroids=cells.centroids, starts=cells.starts, twins=cells.twins)
    return buffer.getvalue()


def _unpack(data: bytes) -> Cells:
    arrays = load_arrays(io.BytesIO(data))
    return Cells(arrays["centroids"], arrays["starts"], arrays["twins"])


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


def roots_of(plans: Iterable[ShardPlan]) -> Array:
    """[shards] int64 global rows of the shards' roots, in shard order."""
    return np.array([p.first_row + p.file.root for p in plans], np.int64)
