"""`embeddings/` -> the parts of one native index, with what measures it: partition, build, link, merge.

With `layout: routed` the shards are not linked and merged, but written as a native file each.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from sim_transforms.assign_shards import AssignShards, plan_shards
from sim_transforms.build_shards import BuildShards
from sim_transforms.errors import UsageError
from sim_transforms.find_repeats import FindRepeats, refuse_repeats, unless_repeated
from sim_transforms.fit_partition import FitPartition
from sim_transforms.hand_back import HandBack, read_rows, unordered
from sim_transforms.index_input import IndexInput
from sim_transforms.link_shards import LinkShards
from sim_transforms.measure_recall import MeasureRecall, MeasureShards
from sim_transforms.merge_shards import MergeShards
from sim_transforms.publish_version import IndexOutcome
from sim_transforms.read_embeddings import DIGESTS, FAILED, IDS, LEDGER, ReadEmbeddings, ReadKept, sum_digests
from sim_transforms.records.items import FailedItem
from sim_transforms.records.ledger import LedgerEntry, LedgerTotals, balance
from sim_transforms.records.manifests import EmbeddingsManifest, ShardRecall
from sim_transforms.records.vectors import VectorPiece
from sim_transforms.resource_hints import NO_HINTS, IndexHints
from sim_transforms.route_shards import RouteShards
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.worker_usage import PeakOfWorkers, SharesOfWorkers, WorkerPeak, WorkerShare, worker_peak

K = 10


@dataclass
class BuildIndex(beam.PTransform):
    """VectorPieces -> ShardPlans, having written all parts and results under `scratch`.

    Attributes:
        given: what is indexed.
        scratch: folder that all workers share, empty.
        settings: of the index.
        spill: whether what meets at a shard waits in files under `scratch` (`group_in_files`).
        hints: of the stages that hold a shard or more; they begin behind a shuffle, so that no vector is shuffled for
            their sake.
    """

    given: IndexInput
    scratch: str
    settings: IndexSettings
    spill: bool = False
    hints: IndexHints = NO_HINTS

    def __post_init__(self) -> None:
        super().__init__()
        if self.settings.layout == "merged":
            _check_upper(self.given.source.items, self.given.source.dimension, self.settings)

    def expand(self, pieces: beam.PCollection[VectorPiece]) -> beam.PCollection[str]:
        """Chains the stages of the design page."""
        settings, given, hints = self.settings, self.given, self.hints
        items, dimension = given.source.items, given.source.dimension
        reader = ReadEmbeddings(settings.space, dimension, given.is_foreign, given.ids_may_repeat)
        read = pieces | "ReadEmbeddings" >> reader
        began = read.batches | "Began" >> beam.Map(time_now)
        partition = read.batches | "FitPartition" >> FitPartition(items, settings, hints.partition)
        again = self._unless_repeated(pieces, read[IDS]) | "ReadAgain" >> ReadKept(settings.space, dimension)
        files = again | "AssignShards" >> AssignShards(
            beam.pvalue.AsSingleton(partition), self.scratch, items, settings, self._spill_folder(), hints.shards
        )
        plans = files | "GatherShards" >> beam.combiners.ToList() | "PlanShards" >> beam.Map(plan_shards)
        planned, known = plans | "EachShard" >> beam.FlatMap(list), beam.pvalue.AsSingleton(plans)
        built = planned | "BuildShards" >> BuildShards(settings).with_resource_hints(**hints.shards)
        made = self._routed(built) if settings.layout == "routed" else self._merged(built, known)
        ended = made | "Ended" >> beam.Map(time_now)
        # Measured when the files are made, so that the graph's own time is not mixed with it.
        done = made | "Made" >> beam.Reshuffle()
        live = beam.pvalue.AsSingleton(plans | "CountItems" >> beam.Map(count_items))
        recall = MeasureRecall(live, settings.recall_queries, K, settings.space, settings.seed)
        exact = done | "MeasureRecall" >> recall.with_resource_hints(**hints.shards)
        alone = done | "MeasureShards" >> MeasureShards(settings, K).with_resource_hints(**hints.shards)
        for name in (FAILED, LEDGER, DIGESTS):
            _hand_back(self.scratch, read[name], name)
        for name, moments in (("began", began), ("ended", ended)):
            _hand_back(self.scratch, moments, name)
        stages = {"assign": files, "build": built, "merge": made, "measure": alone}
        reports = [self._peak(stage, done) for stage, done in stages.items()] | "Peaks" >> beam.Flatten()
        _hand_back(self.scratch, reports | PeakOfWorkers(), "peaks")
        _hand_back(self.scratch, reports | SharesOfWorkers(), "shares")
        exact | "HandBackExact" >> HandBack(_path(self.scratch, "exact"), key=unordered)
        alone | "HandBackAlone" >> HandBack(_path(self.scratch, "alone"), key=_by_shard)
        return made | "HandBackPlans" >> HandBack(_path(self.scratch, "plans"), key=_by_number)

    def _peak(self, stage: str, done: beam.PCollection) -> beam.PCollection[WorkerPeak]:
        """Hints as of the stage, so that it is the stage's own process that tells."""
        return done | f"Peak {stage}" >> beam.Map(peak_after, stage).with_resource_hints(**self.hints.shards)

    def _unless_repeated(self, pieces: beam.PCollection, ids: beam.PCollection) -> beam.PCollection:
        if not self.given.ids_may_repeat:
            return pieces
        repeats = ids | "FindRepeats" >> FindRepeats(self.given.source.items)
        _hand_back(self.scratch, repeats, "repeats")
        return pieces | "UnlessRepeated" >> beam.FlatMap(unless_repeated, beam.pvalue.AsIter(repeats))

    def _merged(self, built: beam.PCollection, known: beam.pvalue.AsSingleton) -> Any:
        spill, hints = self._spill_folder(), self.hints
        merge = MergeShards(self.scratch, known, self.given.source.dimension, self.settings, spill, hints.upper)
        return (
            built
            | "LinkShards" >> LinkShards(known, self.settings, spill).with_resource_hints(**hints.shards)
            | "MergeShards" >> merge.with_resource_hints(**hints.shards)
        )

    def _spill_folder(self) -> str | None:
        return self.scratch if self.spill else None

    def _routed(self, built: beam.PCollection) -> Any:
        route = RouteShards(self.scratch, self.settings).with_resource_hints(**self.hints.shards)
        return built | "RouteShards" >> route


def peak_after(_: Any, stage: str) -> WorkerPeak:
    """Memory of this process, once a stage has done its work on an element."""
    return worker_peak(stage)


def time_now(_: Any) -> float:
    """Seconds of the clock, for timings.json alone."""
    return time.time()


def _check_upper(items: int, dimension: int, settings: IndexSettings) -> None:
    """Refuses a merged index whose upper layers would be too large for the one worker that builds them."""
    expected = items // settings.m
    if expected > settings.upper_items:
        raise UsageError(
            f"index.upper_items: some {expected:,} of {items:,} items will stand in the upper layers, which one worker "
            f"builds; {settings.upper_items:,} are allowed: raise index.m, set index.layout to routed, or raise "
            f"index.upper_items where a worker has {expected * (40 * dimension + 16 * settings.m) / 2**30:.1f} GiB"
        )


def _hand_back(scratch: str, rows: beam.PCollection, name: str) -> None:
    rows | f"HandBack {name}" >> HandBack(_path(scratch, name))


def _path(scratch: str, name: str) -> str:
    return str(Path(scratch) / f"{name}.rows")


def _by_number(plan: object) -> int:
    return int(plan.number)  # type: ignore[attr-defined]


def _by_shard(recall: ShardRecall) -> int:
    return recall.shard


def count_items(plans: list) -> int:  # type: ignore[type-arg]
    """Items of all shards."""
    return sum(plan.file.items for plan in plans)


@dataclass(frozen=True)
class IndexResult:
    """What the job handed back.

    Attributes:
        outcome: for publishing.
        manifest: of the vectors, their content known.
        totals, failed: accounts of the items.
        graph_seconds: from the first vector read to the last part written.
        worker_peak_bytes: memory of the largest worker process, null where there was no work.
        shares: stage -> elements that each worker process has done there, most first.
    """

    outcome: IndexOutcome
    manifest: EmbeddingsManifest
    totals: LedgerTotals
    failed: tuple[FailedItem, ...]
    graph_seconds: float
    worker_peak_bytes: int | None
    shares: dict[str, list[int]]


def collect_index(scratch: str, given: IndexInput) -> IndexResult:
    """Reads what the job left and checks its ledger.

    Raises:
        CatalogError: an item_id stands more than once.
        LedgerError: an item of the vectors stands neither in a shard nor among the rejects.
    """
    names = ("ledger", "plans", "exact", "began", "ended", "alone", "failed", "digests", "peaks", "shares")
    rows = {name: read_rows(_path(scratch, name)) for name in names}
    if given.ids_may_repeat:
        refuse_repeats(read_rows(_path(scratch, "repeats")))
    totals = balance("index", rows["ledger"], expected_in=given.manifest.items)
    placed = LedgerEntry("assign", "all", totals.items_out, count_items(rows["plans"]))
    balance("assign", [placed], expected_in=totals.items_out)
    (exact,) = rows["exact"]
    seconds = max(rows["ended"]) - min(rows["began"]) if rows["began"] and rows["ended"] else 0.0
    outcome = IndexOutcome(rows["plans"], exact, rows["alone"])
    manifest = given.with_digest(sum_digests(rows["digests"]))
    peak = max((peak.peak_rss_bytes for peak in rows["peaks"]), default=None)
    return IndexResult(outcome, manifest, totals, tuple(rows["failed"]), seconds, peak, _by_stage(rows["shares"]))


def _by_stage(shares: list[WorkerShare]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for share in sorted(shares, key=lambda share: (share.stage, -share.elements)):
        found.setdefault(share.stage, []).append(share.elements)
    return found
