"""What recall is measured against and with: exact neighbours of sampled items, and each shard's own recall."""

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np

from sim_transforms.assign_shards import read_shard, shard_arrays
from sim_transforms.build_shards import read_graph
from sim_transforms.hnsw.merge import write_shard_file
from sim_transforms.hnsw.walk import open_graph, walk
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.quality.recall import drop_self, recall_interval
from sim_transforms.records.batches import Array, QueryBlock, ShardPlan, vectors_of
from sim_transforms.records.manifests import ShardRecall
from sim_transforms.settings.stages import IndexSettings

SHARD_QUERIES = 100


@dataclass(frozen=True)
class ExactAnswer:
    """Exact neighbours of the sampled queries, the query itself left out.

    Attributes:
        rows: [q] int32, the queries' own rows, ascending.
        vectors: [q, d] float32.
        neighbors: [q, k] int32 global rows, nearest first, -1 where there are fewer.
        distances: [q, k] float32 as NMSLIB gives them, infinite where there are fewer.
    """

    rows: Array
    vectors: Array
    neighbors: Array
    distances: Array


@dataclass
class MeasureRecall(beam.PTransform):
    """ShardPlans -> one ExactAnswer for `queries` sampled items.

    Attributes:
        items: number of items in all (side input).
        queries: items to sample.
        k: neighbours of each.
        space: of the index.
        seed: of the sample.
    """

    items: beam.pvalue.AsSingleton
    queries: int
    k: int
    space: str
    seed: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, plans: beam.PCollection[ShardPlan]) -> beam.PCollection[ExactAnswer]:
        """Samples queries, answers them in every shard, merges the answers."""
        sample = (
            plans
            | "Sample" >> beam.Map(sample_queries, self.items, self.queries, self.seed)
            | "Gather" >> beam.combiners.ToList()
            | "Order" >> beam.Map(gather_queries, self.queries, self.seed)
        )
        asked = beam.pvalue.AsSingleton(sample)
        return (
            plans
            | "Answer" >> beam.Map(answer, asked, self.k, self.space)
            | "Nearest" >> beam.CombineGlobally(NearestOfAll(self.k))
            | "Finish" >> beam.Map(finish_answers, asked, self.k)
        )


def sample_queries(plan: ShardPlan, items: int, queries: int, seed: int) -> list[tuple[int, QueryBlock]]:
    """The items of a shard whose hash falls under about twice the share that is asked for."""
    table = read_shard(plan.file.path)
    share = min(1.0, (2 * queries + 20) / max(items, 1))
    ranks = np.array([recall_rank(i, seed) for i in table.column("item_id").to_pylist()], np.int64)
    rows = np.flatnonzero(ranks <= min(int(share * 2**63), 2**63 - 1))
    vectors = vectors_of(table.column("embedding"))
    # Copies: a view would keep the whole shard in memory until all shards are sampled.
    chosen = [(int(ranks[r]), np.array([r + plan.first_row], np.int32), vectors[r : r + 1].copy()) for r in rows]
    return [(value, QueryBlock(row, vector)) for value, row, vector in chosen]


def gather_queries(pieces: Iterable[list[tuple[int, QueryBlock]]], queries: int, seed: int) -> QueryBlock:
    """The `queries` items of the smallest hashes, by row."""
    ranked = sorted((r, int(b.rows[0]), b) for piece in pieces for r, b in piece)[:queries]
    ordered = sorted(ranked, key=lambda entry: entry[1])
    if not ordered:
        return QueryBlock(np.zeros(0, np.int32), np.zeros((0, 1), np.float32))
    blocks = [b for _, _, b in ordered]
    return QueryBlock(np.concatenate([b.rows for b in blocks]), np.concatenate([b.vectors for b in blocks]))


def recall_rank(item_id: str, seed: int) -> int:
    """63 bits of a hash; the items of the lowest ranks are searched to measure recall."""
    return int.from_bytes(hashlib.sha256(f"recall:{seed}:{item_id}".encode()).digest()[:8], "big") >> 1


def answer(plan: ShardPlan, asked: QueryBlock, k: int, space: str) -> tuple[Array, Array]:
    """(global rows, distances), each [q, up to k + 1], of the queries' neighbours within one shard."""
    vectors, _, _ = shard_arrays(plan.file.path)
    if not len(asked.rows):
        return np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32)
    rows, distances = exact_neighbors(asked.vectors, vectors, min(k + 1, len(vectors)), space)
    return (rows + plan.first_row).astype(np.int32), distances


Answers = tuple[Array, Array]


@dataclass
class NearestOfAll(beam.CombineFn):
    """Answers of some shards, [q, any] each -> the k + 1 nearest of each query, so that no process holds more.

    Attributes:
        k: neighbours that will be kept; one more, because the query itself is among them.
    """

    k: int

    def create_accumulator(self) -> Answers | None:
        """Of no shard."""
        return None

    def add_input(self, mutable_accumulator: Answers | None, element: Answers) -> Answers | None:
        """Adds a shard's answers."""
        return self.merge_accumulators([mutable_accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Answers | None]) -> Answers | None:
        """The nearest of all, ties to the lower row: in whatever order shards come, the same."""
        pieces = [a for a in accumulators if a is not None]
        if not pieces:
            return None
        rows, distances = (np.concatenate([piece[part] for piece in pieces], axis=1) for part in (0, 1))
        return _nearest(rows, distances, self.k + 1)

    def extract_output(self, accumulator: Answers | None) -> Answers | None:
        """Null of no shard."""
        return accumulator


def _nearest(rows: Array, distances: Array, k: int) -> Answers:
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def finish_answers(found: Answers | None, asked: QueryBlock, k: int) -> ExactAnswer:
    """Leaves out the query itself; fills up where there are fewer than k others."""
    queries = len(asked.rows)
    rows, distances = np.full((queries, k), -1, np.int32), np.full((queries, k), np.inf, np.float32)
    if found is not None and queries:
        rows, distances = (np.concatenate(pair, axis=1) for pair in zip((rows, distances), found, strict=True))
    distances = np.where(rows == asked.rows[:, None], np.float32(np.inf), distances)
    return ExactAnswer(asked.rows, asked.vectors, *_nearest(np.where(np.isinf(distances), -1, rows), distances, k))


@dataclass
class MeasureShards(beam.PTransform):
    """Built ShardPlans -> a ShardRecall each, of the shard alone, before the merge.

    Attributes:
        settings: of the index.
        k: neighbours of each query.
    """

    settings: IndexSettings
    k: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, plans: beam.PCollection[ShardPlan]) -> beam.PCollection[ShardRecall]:
        """Measures each shard where it lies."""
        return plans | "Measure" >> beam.FlatMap(measure_shard, self.settings, self.k)


def measure_shard(plan: ShardPlan, settings: IndexSettings, k: int) -> Iterable[ShardRecall]:
    """Recall of a shard searched on its own at ef_construction, on SHARD_QUERIES of its items, by hash of their ids.

    Each is searched as if it were not in the shard. Gives nothing for a shard of one item, which has no neighbours.
    """
    graph = read_graph(plan, settings.m)
    if len(graph.vectors) < 2:
        return
    k, ef = min(k, len(graph.vectors) - 1), settings.ef_construction
    ids = read_shard(plan.file.path).column("item_id").to_pylist()
    rows = np.sort(np.argsort([recall_rank(i, settings.seed) for i in ids], kind="stable")[:SHARD_QUERIES]).astype(
        np.int32
    )
    queries = graph.vectors[rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.hnsw"
        write_shard_file(graph, path, settings)
        _, found = walk(open_graph(path), queries, rows, k, ef)
    near, exact = exact_neighbors(queries, graph.vectors, k + 1, settings.space)
    yield ShardRecall(plan.number, recall_interval(found, drop_self(near, exact, rows, k), k, ef))
