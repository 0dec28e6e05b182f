"""Linked shards -> the parts of one native NMSLIB file: header, records a shard, upper links a shard.

`index.hnsw` is the parts in that order, put together by concatenation: rows are numbered by prefix sums of shard sizes,
so that no worker ever holds more than its shard. The upper layers are one small HNSW over the items of level >= 1,
about items / m of them, made by one worker.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import apache_beam as beam
import numpy as np

from sim_transforms.assign_shards import roots_of
from sim_transforms.build_shards import read_graph
from sim_transforms.group_in_files import GroupInFiles
from sim_transforms.hnsw.build_upper import build_upper
from sim_transforms.hnsw.connect import anchors_of
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, upper_bytes
from sim_transforms.hnsw.link import Forward, foreign_links, join_forward
from sim_transforms.hnsw.merge import merge_shard, upper_of
from sim_transforms.hnsw.upper import UpperLayers
from sim_transforms.link_shards import load_linked, own_and_others
from sim_transforms.records.arrays import map_array
from sim_transforms.records.batches import Array, ShardPlan
from sim_transforms.resource_hints import Hints
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import replace_file, write_file


@dataclass
class MergeShards(beam.PTransform):
    """(shard, ShardPlan) and (shard, Forward) of LinkShards -> ShardPlans whose parts are written.

    Attributes:
        parts: folder of the parts `header`, `records-<shard>`, `upper-<shard>`.
        plans: side input, all ShardPlans in shard order.
        dimension: of the vectors.
        settings: of the index.
        spill: folder where answers wait, or null (`group_in_files`).
        upper_hints: of the step that holds the upper layers.
    """

    parts: str
    plans: beam.pvalue.AsSingleton
    dimension: int
    settings: IndexSettings
    spill: str | None = None
    upper_hints: Hints = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, linked: beam.PCollection[tuple[int, ShardPlan | Forward]]) -> beam.PCollection[ShardPlan]:
        """Writes the records, gathers the upper items, then writes header and upper links."""
        met = linked | "Meet" >> GroupInFiles(self.spill)
        merged = met | "Records" >> beam.Map(write_records, self.plans, self.parts, self.settings)
        pieces = (
            merged | "UpperItems" >> beam.Map(upper_items, self.settings),
            merged.pipeline | "NoItems" >> beam.Create([no_upper_items(self.dimension)]),
        )
        gathered = pieces | "Pieces" >> beam.Flatten() | "Gather" >> GroupInFiles(self.spill)
        making = beam.Map(make_upper, self.parts, self.settings).with_resource_hints(**self.upper_hints)
        upper = gathered | "Upper" >> making
        header = upper | "Header" >> beam.Map(write_header, self.plans, self.parts, self.dimension, self.settings)
        shown = beam.pvalue.AsSingleton(upper)
        after = beam.pvalue.AsSingleton(header)
        return merged | "UpperLinks" >> beam.Map(write_upper, self.parts, self.settings, shown, after)


def write_records(
    element: tuple[int, Iterable[ShardPlan | Forward]], plans: list[ShardPlan], parts: str, settings: IndexSettings
) -> ShardPlan:
    """Merges own, reverse and cross links of one shard and writes its records."""
    number, inputs = element
    plan, found = own_and_others(inputs)
    graph, forward = read_graph(plan, settings.m), join_forward(found, foreign_links(settings))
    anchors = anchors_of(number, roots_of(plans))
    links = merge_shard(load_linked(plan), forward, graph, anchors, settings.space)
    write_file(records_part(parts, number), record_bytes(graph.vectors, plan.first_row, links))
    return plan


@dataclass(frozen=True)
class UpperFiles:
    """Where the upper layers stand, and how high they are.

    Attributes:
        parts: folder of their files.
        max_level, entry_row: as in `UpperLayers`.
    """

    parts: str
    max_level: int
    entry_row: int


_Upper: TypeAlias = tuple[int, Array, Array, Array]


def upper_items(plan: ShardPlan, settings: IndexSettings) -> tuple[int, _Upper]:
    """Keyed by 0: (shard, rows, vectors, levels) of its items of level >= 1, as `merge.upper_of` gives them."""
    return 0, (plan.number, *upper_of(read_graph(plan, settings.m), plan.first_row))


def no_upper_items(dimension: int) -> tuple[int, _Upper]:
    """The same of no shard, so that the upper layers are made where there are no items."""
    return 0, (-1, np.zeros(0, np.int32), np.zeros((0, dimension), np.float32), np.zeros(0, np.int8))


def make_upper(element: tuple[int, Iterable[_Upper]], parts: str, settings: IndexSettings) -> UpperFiles:
    """Builds the upper layers from the pieces in shard order and writes them where the other workers map them.

    Walks the pieces twice, so that their vectors are never held twice.
    """
    pieces = element[1]
    small = {number: (rows, levels) for number, rows, _, levels in pieces}
    numbers = sorted(small)
    rows, levels = (np.concatenate([small[number][part] for number in numbers]) for part in (0, 1))
    starts = dict(zip(numbers, np.cumsum([0, *(len(small[number][0]) for number in numbers)]), strict=False))
    vectors: Array | None = None
    for number, own, held, _ in pieces:
        vectors = np.empty((len(rows), held.shape[1]), np.float32) if vectors is None else vectors
        vectors[starts[number] : starts[number] + len(own)] = held
    assert vectors is not None
    return save_upper(build_upper(rows, vectors, levels, settings), parts)


_UPPER_ARRAYS = ("rows", "levels", "links", "starts")


def save_upper(upper: UpperLayers, parts: str) -> UpperFiles:
    """Writes each array as an .npy file."""
    for name in _UPPER_ARRAYS:
        with replace_file(_upper_array(parts, name)) as temporary, temporary.open("wb") as file:
            np.save(file, getattr(upper, name))
    return UpperFiles(parts, upper.max_level, upper.entry_row)


def map_upper(files: UpperFiles) -> UpperLayers:
    """The upper layers, memory-mapped: a worker reads the words of its shard alone."""
    arrays = (np.asarray(map_array(_upper_array(files.parts, name))) for name in _UPPER_ARRAYS)
    return UpperLayers(files.max_level, files.entry_row, *arrays)


def _upper_array(parts: str, name: str) -> Path:
    return Path(parts) / f"upper-{name}.npy"


def write_header(
    upper: UpperFiles, plans: list[ShardPlan], parts: str, dimension: int, settings: IndexSettings
) -> bool:
    """Writes the header; it needs the count of all items and the entry point."""
    items = sum(plan.file.items for plan in plans)
    write_file(Path(parts) / "header", header_bytes(items, dimension, settings, map_upper(upper)))
    return True


def write_upper(
    plan: ShardPlan, parts: str, settings: IndexSettings, upper: UpperFiles, header_written: bool
) -> ShardPlan:
    """Writes the upper links of one shard's rows; `header_written` orders it after the header."""
    assert header_written
    data = upper_bytes(plan.first_row, plan.file.items, map_upper(upper), settings)
    write_file(upper_part(parts, plan.number), data)
    return plan


def records_part(parts: str, number: int) -> Path:
    """Records of a shard."""
    return Path(parts) / f"records-{number:06d}"


def upper_part(parts: str, number: int) -> Path:
    """Upper links of a shard's rows."""
    return Path(parts) / f"upper-{number:06d}"


def part_paths(parts: str, shards: int) -> list[Path]:
    """All parts of `index.hnsw` in their order."""
    records = [records_part(parts, n) for n in range(shards)]
    return [Path(parts) / "header", *records, *(upper_part(parts, n) for n in range(shards))]
