"""A published version and a change -> the parts of the next one: repaired, linked and measured shard by shard.

Workers map the published file and the additions; each holds one shard. What is written are the parts of a native file,
a range of rows each, as `merge_shards` writes them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from sim_transforms.build_index import K
from sim_transforms.group_in_files import GroupInFiles
from sim_transforms.hand_back import HandBack, read_rows, unordered
from sim_transforms.hnsw.file_format import header_bytes, record_bytes, record_type, upper_bytes
from sim_transforms.hnsw.link import Forward, foreign_links, join_forward, split_forward
from sim_transforms.hnsw.memory import give_memory_back
from sim_transforms.hnsw.patch import (
    Additions,
    Published,
    ShardPatch,
    open_published,
    patch_shard,
)
from sim_transforms.hnsw.patch_finish import finish_shard, patch_anchors
from sim_transforms.hnsw.patch_upper import patch_upper, read_upper
from sim_transforms.hnsw.patch_whole import (
    Change,
    levels_of,
    place_change,
    range_vectors,
    shard_rows,
)
from sim_transforms.measure_recall import Answers, ExactAnswer, NearestOfAll, finish_answers
from sim_transforms.merge_shards import UpperFiles, map_upper, records_part, save_upper, upper_part
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.records.arrays import load_arrays, map_array
from sim_transforms.records.batches import Array, QueryBlock
from sim_transforms.records.manifests import RowRange
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import replace_file, write_file

_ADDITIONS = ("vectors", "starts", "levels", "asking", "asking_starts")
_ARRAYS = ("gone", *_ADDITIONS, "final", "live", "upper_rows", "upper_levels")


@dataclass(frozen=True)
class PatchPlan:
    """What workers need to know; arrays lie beside it as files.

    Attributes:
        source: published index.hnsw.
        scratch: folder that all workers share.
        old_ranges, ranges: rows by shard, before and after.
        shards: how many there are.
        settings: of the index.
    """

    source: str
    scratch: str
    old_ranges: tuple[RowRange, ...]
    ranges: tuple[RowRange, ...]
    shards: int
    settings: IndexSettings

    def array(self, name: str) -> Array:
        """One of the arrays, mapped."""
        return np.asarray(map_array(Path(self.scratch) / f"{name}.npy"))

    def additions(self) -> Additions:
        """The additions, mapped."""
        return Additions(*(self.array(name) for name in _ADDITIONS))

    def published(self) -> Published:
        """The published file, mapped."""
        return open_published(Path(self.source), self.array("gone"), self.array("vectors"))


@dataclass(frozen=True)
class PlannedPatch:
    """A plan and what the driver needs beside it.

    Attributes:
        plan: for the workers.
        rows: [a] int32, row of each addition in the order in which they were given.
        free: [f] int32 rows that hold nothing afterwards, ascending.
    """

    plan: PatchPlan
    rows: Array
    free: Array


def plan_patch(
    source: Path,
    scratch: Path,
    change: Change,
    parts: tuple[Sequence[RowRange], Array, Array],
    settings: IndexSettings,
) -> PlannedPatch:
    """Places the additions and writes what the workers map.

    Args:
        source: index.hnsw of the version that is patched.
        scratch: empty folder that all workers share.
        change: deletions and additions; at least one item is left.
        parts: of the version: row ranges, centroids [shards, d], free rows [f].
        settings: that the version was built with.
    """
    placed = place_change(change, parts, settings)
    additions, patched = placed.additions, placed.patched
    old = read_upper(open_published(source, placed.gone, additions.vectors))
    own = (getattr(additions, name) for name in _ADDITIONS)
    for name, array in zip(_ARRAYS, (placed.gone, *own, placed.final, placed.live, old.rows, old.levels), strict=True):
        np.save(scratch / f"{name}.npy", array)
    plan = PatchPlan(str(source), str(scratch), tuple(parts[0]), patched.row_ranges, len(parts[1]), settings)
    return PlannedPatch(plan, patched.rows, patched.free)


@dataclass
class PatchVersion(beam.PTransform):
    """Pipeline -> one path, having written the parts and `exact.rows` under the plan's scratch folder.

    Attributes:
        plan: of the patch.
        asked: items whose exact neighbours are sought, by their rows after the patch.
        spill: whether what meets at a shard waits in files (`group_in_files`).
    """

    plan: PatchPlan
    asked: QueryBlock
    spill: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[str]:
        """Repairs and links, finishes, writes, measures."""
        plan, folder = self.plan, self.plan.scratch if self.spill else None
        shards = pipeline | "Shards" >> beam.Create(range(plan.shards)) | "Spread" >> beam.Reshuffle()
        patched = shards | "Patch" >> beam.Map(patch, plan)
        roots = beam.pvalue.AsSingleton(patched | "Roots" >> beam.Map(root_of) | "AllRoots" >> beam.combiners.ToList())
        met = patched | "Send" >> beam.FlatMap(send_found) | "Meet" >> GroupInFiles(folder)
        finished = met | "Finish" >> beam.FlatMap(finish, plan, roots)
        written = finished | "Bring" >> GroupInFiles(folder) | "Records" >> beam.Map(write_ranges, plan)
        upper = pipeline | "One" >> beam.Create([0]) | "Upper" >> beam.Map(make_upper, plan, roots)
        header = upper | "Header" >> beam.Map(write_header, plan)
        files, after = beam.pvalue.AsSingleton(upper), beam.pvalue.AsSingleton(header)
        written | "UpperLinks" >> beam.Map(write_upper, plan, files, after)
        answers = written | "Answer" >> beam.Map(answer, plan, self.asked)
        exact = answers | "Nearest" >> beam.CombineGlobally(NearestOfAll(K))
        done = exact | "FinishAnswers" >> beam.Map(finish_answers, self.asked, K)
        return done | "HandBackExact" >> HandBack(str(Path(plan.scratch) / "exact.rows"), key=unordered)


@dataclass(frozen=True)
class Patched:
    """A shard's patch lies in its file; this travels on.

    Attributes:
        shard: its number.
        root: row or number of its root, -1 where it is empty.
        found: what additions of other shards found here, by home shard.
    """

    shard: int
    root: int
    found: tuple[tuple[int, Forward], ...]


def patch(shard: int, plan: PatchPlan) -> Patched:
    """Repairs and links one shard and writes its patch."""
    give_memory_back()
    published, additions = plan.published(), plan.additions()
    rows = shard_rows(plan.old_ranges, shard)
    levels = levels_of(plan.array("upper_rows"), plan.array("upper_levels"), rows)
    made, found = patch_shard(published, shard, rows, levels, additions, plan.settings)
    with replace_file(_patch_path(plan, shard)) as temporary, temporary.open("wb") as file:
        np.savez(file, live=made.live, home=made.home, links=made.links, gaps=made.gaps)
    return Patched(shard, made.root, tuple(split_forward(found, additions.starts[:-1] + published.header.items)))


def _patch_path(plan: PatchPlan, shard: int) -> Path:
    return Path(plan.scratch) / f"patch-{shard:06d}.npz"


def root_of(patched: Patched) -> tuple[int, int]:
    """(shard, root)."""
    return patched.shard, patched.root


def send_found(patched: Patched) -> Iterator[tuple[int, int | Forward]]:
    """What was found to its home shard; the shard's own number to itself, so that it meets even where nothing was."""
    yield patched.shard, patched.shard
    yield from patched.found


def finish(
    element: tuple[int, Iterable[int | Forward]], plan: PatchPlan, roots: list[tuple[int, int]]
) -> Iterator[tuple[int, Any]]:
    """Finishes one shard and writes its lists; additions that stand in rows of another shard are sent there."""
    shard, inputs = element
    found = join_forward((f for f in inputs if isinstance(f, Forward)), foreign_links(plan.settings))
    published, final = plan.published(), plan.array("final")
    made = _load_patch(plan, shard, dict(roots)[shard])
    numbers, links = finish_shard(published, made, found, final, patch_anchors(shard, roots))
    owners = _owners(plan, numbers)
    mine = owners == shard
    with replace_file(_lists_path(plan, shard)) as temporary, temporary.open("wb") as file:
        np.savez(file, rows=numbers[mine], links=links[mine])
    yield shard, shard
    for owner in np.unique(owners[~mine]).tolist():
        there = owners == owner
        yield owner, (numbers[there], links[there])


def _load_patch(plan: PatchPlan, shard: int, root: int) -> ShardPatch:
    arrays = load_arrays(_patch_path(plan, shard))
    return ShardPatch(shard, arrays["live"], arrays["home"], arrays["links"], arrays["gaps"], root)


def _owners(plan: PatchPlan, rows: Array) -> Array:
    firsts = np.array([r.first_row for r in plan.ranges])
    return np.array([r.shard for r in plan.ranges])[np.searchsorted(firsts, rows, side="right") - 1]


def _lists_path(plan: PatchPlan, shard: int) -> Path:
    return Path(plan.scratch) / f"lists-{shard:06d}.npz"


def write_ranges(element: tuple[int, Iterable[Any]], plan: PatchPlan) -> int:
    """Writes the records of all ranges of a shard."""
    shard, inputs = element
    give_memory_back()
    pieces = [piece for piece in inputs if not isinstance(piece, int)]
    arrays = load_arrays(_lists_path(plan, shard))
    pieces.append((arrays["rows"], arrays["links"]))
    rows, links = (np.concatenate([piece[part] for piece in pieces]) for part in (0, 1))
    published, final, additions = plan.published(), plan.array("final"), plan.additions()
    for number, part in enumerate(plan.ranges):
        if part.shard == shard:
            lists = np.full((part.end_row - part.first_row, links.shape[1]), -1, np.int32)
            inside = (rows >= part.first_row) & (rows < part.end_row)
            lists[rows[inside] - part.first_row] = links[inside]
            vectors = range_vectors(published, part, final, additions)
            write_file(records_part(plan.scratch, number), record_bytes(vectors, part.first_row, lists))
    return shard


def make_upper(_: int, plan: PatchPlan, roots: list[tuple[int, int]]) -> UpperFiles:
    """Patches the upper layers and writes them where the other workers map them."""
    published = plan.published()
    old = read_upper(published)
    lowest = min(root for _, root in roots if root >= 0)
    upper = patch_upper(published, old, plan.additions(), plan.array("final"), lowest, plan.settings)
    return save_upper(upper, plan.scratch)


def write_header(upper: UpperFiles, plan: PatchPlan) -> bool:
    """Writes the header."""
    dimension = plan.array("vectors").shape[1]
    data = header_bytes(plan.ranges[-1].end_row, dimension, plan.settings, map_upper(upper))
    write_file(Path(plan.scratch) / "header", data)
    return True


def write_upper(shard: int, plan: PatchPlan, upper: UpperFiles, header_written: bool) -> int:
    """Writes the upper links of a shard's ranges; `header_written` orders it after the header."""
    assert header_written
    layers = map_upper(upper)
    for number, part in enumerate(plan.ranges):
        if part.shard == shard:
            data = upper_bytes(part.first_row, part.end_row - part.first_row, layers, plan.settings)
            write_file(upper_part(plan.scratch, number), data)
    return shard


def answer(shard: int, plan: PatchPlan, asked: QueryBlock) -> Answers:
    """(rows, distances), each [q, up to K + 1 a range], of the queries' neighbours within a shard's live rows."""
    found: list[Answers] = [(np.zeros((len(asked.rows), 0), np.int32), np.zeros((len(asked.rows), 0), np.float32))]
    dimension = plan.array("vectors").shape[1]
    record = record_type(dimension, 2 * plan.settings.m)
    for number, part in enumerate(plan.ranges):
        live = plan.array("live")[part.first_row : part.end_row] if part.shard == shard else np.zeros(0, np.bool_)
        if live.any():
            vectors = np.memmap(records_part(plan.scratch, number), record, "r")["vector"][live]
            count = min(K + 1, len(vectors))
            rows, distances = exact_neighbors(asked.vectors, vectors, count, plan.settings.space)
            found.append(((np.flatnonzero(live)[rows] + part.first_row).astype(np.int32), distances))
    return tuple(np.concatenate([piece[at] for piece in found], axis=1) for at in (0, 1))  # type: ignore[return-value]


def read_exact(plan: PatchPlan) -> ExactAnswer:
    """What the job measured against."""
    (exact,) = read_rows(str(Path(plan.scratch) / "exact.rows"))
    found: ExactAnswer = exact
    return found
