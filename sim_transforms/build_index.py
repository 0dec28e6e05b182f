"""`embeddings/` -> the parts of one native index, with what measures it: partition, build, link, merge."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from sim_transforms.assign_shards import AssignShards, plan_shards
from sim_transforms.build_shards import BuildShards
from sim_transforms.fit_partition import FitPartition
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.link_shards import FORWARD, LinkShards
from sim_transforms.measure_recall import MeasureRecall, MeasureShards
from sim_transforms.merge_shards import MergeShards
from sim_transforms.publish_version import IndexOutcome
from sim_transforms.read_embeddings import FAILED, LEDGER, ReadEmbeddings
from sim_transforms.records.items import FailedItem
from sim_transforms.records.ledger import LedgerEntry, LedgerTotals, balance
from sim_transforms.records.manifests import EmbeddingsManifest, ShardRecall
from sim_transforms.settings.stages import IndexSettings

K = 10


@dataclass
class BuildIndex(beam.PTransform):
    """Paths of Parquet files -> ShardPlans, having written all parts and results under `scratch`.

    Attributes:
        manifest: of the embeddings.
        scratch: folder that all workers share, empty.
        settings: of the index.
    """

    manifest: EmbeddingsManifest
    scratch: str
    settings: IndexSettings

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, paths: beam.PCollection[str]) -> beam.PCollection[str]:
        """Chains the stages of the design page."""
        settings, items = self.settings, self.manifest.items
        read = paths | "ReadEmbeddings" >> ReadEmbeddings(settings.space)
        began = read.batches | "Began" >> beam.Map(time_now)
        partition = read.batches | "FitPartition" >> FitPartition(items, settings)
        files = read.batches | "AssignShards" >> AssignShards(
            beam.pvalue.AsSingleton(partition), self.scratch, items, settings
        )
        plans = files | "GatherShards" >> beam.combiners.ToList() | "PlanShards" >> beam.Map(plan_shards)
        planned, known = plans | "EachShard" >> beam.FlatMap(list), beam.pvalue.AsSingleton(plans)
        built = planned | "BuildShards" >> BuildShards(settings)
        linked = built | "LinkShards" >> LinkShards(known, settings)
        dimension = self.manifest.dimension
        merged = (linked.linked, linked[FORWARD]) | "MergeShards" >> MergeShards(
            self.scratch, known, dimension, settings
        )
        ended = merged | "Ended" >> beam.Map(time_now)
        # Measured after the merge, so that the graph's own time is not mixed with it.
        done = merged | "Merged" >> beam.Reshuffle()
        live = beam.pvalue.AsSingleton(plans | "CountItems" >> beam.Map(count_items))
        exact = done | "MeasureRecall" >> MeasureRecall(live, settings.recall_queries, K, settings.space, settings.seed)
        alone = done | "MeasureShards" >> MeasureShards(settings, K)
        for name, rows in (("failed", read[FAILED]), ("ledger", read[LEDGER]), ("began", began), ("ended", ended)):
            _hand_back(self.scratch, rows, name)
        exact | "HandBackExact" >> HandBack(_path(self.scratch, "exact"), key=_no_order)
        alone | "HandBackAlone" >> HandBack(_path(self.scratch, "alone"), key=_by_shard)
        return merged | "HandBackPlans" >> HandBack(_path(self.scratch, "plans"), key=_by_number)


def time_now(_: Any) -> float:
    """Seconds of the clock, for timings.json alone."""
    return time.time()


def _hand_back(scratch: str, rows: beam.PCollection, name: str) -> None:
    rows | f"HandBack {name}" >> HandBack(_path(scratch, name))


def _path(scratch: str, name: str) -> str:
    return str(Path(scratch) / f"{name}.rows")


def _no_order(_: object) -> int:
    return 0


def _by_number(plan: object) -> int:
    return int(plan.number)  # type: ignore[attr-defined]


def _by_shard(recall: ShardRecall) -> int:
    return recall.shard


def count_items(plans: list) -> int:  # type: ignore[type-arg]
    """Items of all shards."""
    return sum(plan.file.items for plan in plans)


@dataclass(frozen=True)
class IndexResult:
    """What the job handed back: its outcome, the accounts of the items, and seconds from first vector to last part."""

    outcome: IndexOutcome
    totals: LedgerTotals
    failed: tuple[FailedItem, ...]
    graph_seconds: float


def collect_index(scratch: str, manifest: EmbeddingsManifest) -> IndexResult:
    """Reads what the job left and checks its ledger.

    Raises:
        LedgerError: an item of the embeddings stands neither in a shard nor among the rejects.
    """
    entries: list[LedgerEntry] = read_rows(_path(scratch, "ledger"))
    totals = balance("index", entries, expected_in=manifest.items)
    plans = read_rows(_path(scratch, "plans"))
    placed = LedgerEntry("assign", "all", totals.items_out, count_items(plans))
    balance("assign", [placed], expected_in=totals.items_out)
    (exact,) = read_rows(_path(scratch, "exact"))
    began, ended, alone = (read_rows(_path(scratch, name)) for name in ("began", "ended", "alone"))
    seconds = max(ended) - min(began) if began and ended else 0.0
    outcome = IndexOutcome(plans, exact, alone)
    return IndexResult(outcome, totals, tuple(read_rows(_path(scratch, "failed"))), seconds)
