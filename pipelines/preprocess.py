"""catalog + media -> examples/: decoded media as TFRecords, analysed by TensorFlow Transform.

ruiji preprocess --config configs/digits.yaml
ruiji preprocess --config configs/digits.yaml --retry-rejects
ruiji preprocess --config configs/digits.yaml --runner=FlinkRunner --flink_master=localhost:8081

Files that look as they did in the last run are taken up from `<workdir>/decoded/`, and the results of their analysis
too: a run decodes and analyses what is new.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines._job import Job
from pipelines._main import Progress
from sim_transforms.analyze_examples import AnalyzeExamples
from sim_transforms.finish_examples import (
    close_examples,
    example_shards,
    settle_transform,
    tell_moments,
    write_manifest,
)
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.keep_decoded import DecodedFolder
from sim_transforms.media.catalog_plan import CatalogPlan
from sim_transforms.media.decode import media_shape
from sim_transforms.media.guard import bounds_of
from sim_transforms.options import runs_here
from sim_transforms.read_catalog import FAILED, ReadCatalog
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.records.statistics import DataStatistics
from sim_transforms.runs.generations import Generation, added
from sim_transforms.runs.tally import watched
from sim_transforms.settings.stages import Settings
from sim_transforms.write_examples import ShardJob, ShardReport, WriteExamples


@dataclass(frozen=True)
class Preprocessed:
    """What a run has done.

    Attributes:
        kept: what later runs take up, `accept` of which is called once the examples are accepted.
        generations: of the records.
        statistics: of the examples.
        decoded: files that were read, those that were rejected then too; not those that were missing.
        reused: files that an earlier run had decoded or rejected.
        analyzed: records, where all are analysed.
    """

    manifest: ExamplesManifest
    kept: DecodedFolder
    generations: tuple[Generation, ...]
    statistics: DataStatistics
    decoded: int
    reused: int
    analyzed: int


def run_preprocess(
    settings: Settings,
    plan: CatalogPlan,
    output: Path,
    scratch: Path,
    options: PipelineOptions,
    progress: Progress,
    retry_rejects: bool = False,
) -> Preprocessed:
    """Writes `examples/` into the empty folder `output`.

    Args:
        settings: of the catalog.
        plan: of it.
        output: empty folder.
        scratch: another.
        options: of Beam.
        progress: is told of the files that are done.
        retry_rejects: whether files that were rejected are decoded again, though they look the same.
    """
    media = media_shape(settings.media)
    kept = DecodedFolder.of(Path(settings.workdir), media, settings.preprocess)
    accounts, spill = scratch / "accounts", scratch / "spill"
    for folder in (accounts, spill):
        folder.mkdir()
    job = ShardJob(
        str(output),
        str(accounts),
        example_shards(plan.rows, settings.preprocess, media.kind),
        media,
        bounds_of(settings.preprocess),
        settings.preprocess.compression,
        kept.keep(retry_rejects),
        str(spill) if runs_here(options) else None,
    )
    with watched(scratch / "tally", plan.rows, partial(progress, "preprocess")) as tally:
        reports, failed = write_examples(settings, plan, replace(job, tally=tally), scratch, options)
    totals = close_examples(output, reports, failed, plan, settings.preprocess, kept.workdir / "rejects.parquet")
    generations = added(generation for report in reports for generation in report.generations)
    analyzed = analyze(kept, generations, reports, output, scratch, options)
    settle_transform(output)
    statistics = tell_moments(output, media)
    manifest = write_manifest(output, reports, totals, plan, media, settings)
    reused = sum(report.reused for report in reports)
    missing = sum(item.reason == "missing" for report in reports for item in report.failed)
    decoded = sum(report.entry.items_in for report in reports) - reused - missing
    return Preprocessed(manifest, kept, generations, statistics, decoded, reused, analyzed)


def write_examples(
    settings: Settings, plan: CatalogPlan, job: ShardJob, scratch: Path, options: PipelineOptions
) -> tuple[list[ShardReport], list[Any]]:
    """Decodes the catalog into TFRecord files; the reports of the shards, and the rows that are no reference."""
    reports, failed = (str(scratch / f"{name}.rows") for name in ("reports", "failed"))
    with Job("preprocess", options) as pipeline:
        rows = pipeline | "ReadCatalog" >> ReadCatalog(plan, settings.train.seed)
        written = rows.references | "WriteExamples" >> WriteExamples(job)
        written | "HandBackReports" >> HandBack(reports, key=by_shard)
        rows[FAILED] | "HandBackFailed" >> HandBack(failed)
    return read_rows(reports), read_rows(failed)


def by_shard(report: ShardReport) -> int:
    """Order of the reports."""
    return report.shard


def analyze(
    kept: DecodedFolder,
    generations: tuple[Generation, ...],
    reports: Sequence[ShardReport],
    output: Path,
    scratch: Path,
    options: PipelineOptions,
) -> int:
    """Analyses what no earlier run has, into `output/transform`; gives the number of records that were."""
    known = kept.known() & frozenset(generations)
    fresh = scratch / "analysis"
    fresh.mkdir()
    tables = tuple(str(kept.table(report.file.name)) for report in reports)
    # Of a new name: a process that has analysed before holds tables of labels by the path of their file.
    temporary = tempfile.mkdtemp(prefix="tft-", dir=scratch)
    with Job("analyze", options) as pipeline, tft_beam.Context(temp_dir=temporary):
        pipeline | "AnalyzeExamples" >> AnalyzeExamples(
            tables, str(output / "transform"), str(fresh), kept.analysis(generations, known)
        )
    kept.take_up(fresh)
    return sum(generation.records for generation in generations if generation not in known)
