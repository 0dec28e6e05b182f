"""What recall is measured against and with: exact neighbours of sampled items, and each shard's own recall."""

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np

from sim_transforms.assign_shards import read_shard
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
            | "GatherAnswers" >> beam.combiners.ToList()
            | "Merge" >> beam.Map(merge_answers, asked, self.k)
        )


def sample_queries(plan: ShardPlan, items: int, queries: int, seed: int) -> list[tuple[int, QueryBlock]]:
    """The items of a shard whose hash falls under about twice the share that is asked for."""
    table = read_shard(plan.file.path)
    share = min(1.0, (2 * queries + 20) / max(items, 1))
    ranks = np.array([_hash(i, seed) for i in table.column("item_id").to_pylist()], np.int64)
    rows = np.flatnonzero(ranks <= min(int(share * 2**63), 2**63 - 1))
    vectors = vectors_of(table.column("embedding"))
    return [(int(ranks[r]), QueryBlock(np.array([r + plan.first_row], np.int32), vectors[r : r + 1])) for r in rows]


def gather_queries(pieces: Iterable[list[tuple[int, QueryBlock]]], queries: int, seed: int) -> QueryBlock:
    """The `queries` items of the smallest hashes, by row."""
    ranked = sorted((r, int(b.rows[0]), b) for piece in pieces for r, b in piece)[:queries]
    ordered = sorted(ranked, key=lambda entry: entry[1])
    if not ordered:
        return QueryBlock(np.zeros(0, np.int32), np.zeros((0, 1), np.float32))
    blocks = [b for _, _, b in ordered]
    return QueryBlock(np.concatenate([b.rows for b in blocks]), np.concatenate([b.vectors for b in blocks]))


def _hash(item_id: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"recall:{seed}:{item_id}".encode()).digest()[:8], "big") >> 1


def answer(plan: ShardPlan, asked: QueryBlock, k: int, space: str) -> tuple[Array, Array]:
    """(global rows, distances), each [q, up to k + 1], of the queries' neighbours within one shard."""
    vectors = vectors_of(read_shard(plan.file.path).column("embedding"))
    if not len(asked.rows):
        return np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32)
    rows, distances = exact_neighbors(asked.vectors, vectors, min(k + 1, len(vectors)), space)
    return (rows + plan.first_row).astype(np.int32), distances


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
    graph = read_graph(plan)
    if len(graph.vectors) < 2:
        return
    k, ef = min(k, len(graph.vectors) - 1), settings.ef_construction
    ids = read_shard(plan.file.path).column("item_id").to_pylist()
    rows = np.sort(np.argsort([_hash(i, settings.seed) for i in ids], kind="stable")[:SHARD_QUERIES]).astype(np.int32)
    queries = graph.vectors[rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.hnsw"
        write_shard_file(graph, path, settings)
        _, found = walk(open_graph(path), queries, rows, k, ef)
    near, exact = exact_neighbors(queries, graph.vectors, k + 1, settings.space)
    yield ShardRecall(plan.number, recall_interval(found, drop_self(near, exact, rows, k), k, ef))


def merge_answers(answers: list[tuple[Array, Array]], asked: QueryBlock, k: int) -> ExactAnswer:
    """The k nearest of all shards' answers, the query itself left out, ties to the lower row."""
    queries = len(asked.rows)
    pieces = [a for a in answers if a[0].shape[0] == queries]
    rows = np.concatenate([np.full((queries, k), -1, np.int32), *(p[0] for p in pieces)], axis=1)
    distances = np.concatenate([np.full((queries, k), np.inf, np.float32), *(p[1] for p in pieces)], axis=1)
    distances = np.where(rows == asked.rows[:, None], np.float32(np.inf), distances)
    rows = np.where(np.isinf(distances), -1, rows)
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return ExactAnswer(
        asked.rows,
        asked.vectors,
        np.take_along_axis(rows, order, axis=1),
        np.take_along_axis(distances, order, axis=1),
    )
