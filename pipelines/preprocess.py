"""catalog + media -> examples/: decoded media as TFRecords, analysed by TensorFlow Transform.

ruiji preprocess --config configs/digits.yaml
ruiji preprocess --config configs/digits.yaml --runner=FlinkRunner --flink_master=localhost:8081
"""

from pathlib import Path

import apache_beam as beam
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions

from sim_transforms.analyze_examples import AnalyzeExamples
from sim_transforms.finish_examples import close_examples, example_shards, write_manifest
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.media.catalog_plan import CatalogPlan
from sim_transforms.media.decode import media_shape
from sim_transforms.media.guard import bounds_of
from sim_transforms.read_catalog import FAILED, ReadCatalog
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.settings.stages import Settings
from sim_transforms.write_examples import WriteExamples


def write(settings: Settings, plan: CatalogPlan, output: Path, scratch: Path, options: PipelineOptions) -> None:
    """Decodes the catalog into TFRecord files; accounts go to `scratch`."""
    shards = example_shards(plan.rows, settings.preprocess, settings.media.kind)
    with beam.Pipeline(options=options) as pipeline:
        rows = pipeline | "ReadCatalog" >> ReadCatalog(plan, settings.train.seed)
        media, bounds = media_shape(settings.media), bounds_of(settings.preprocess)
        written = rows.references | "WriteExamples" >> WriteExamples(str(output), shards, media, bounds)
        written | "HandBackReports" >> HandBack(str(scratch / "reports.rows"), key=by_shard)
        rows[FAILED] | "HandBackFailed" >> HandBack(str(scratch / "failed.rows"))


def by_shard(report: object) -> int:
    """Order of the reports."""
    return int(report.shard)  # type: ignore[attr-defined]


def analyze(settings: Settings, output: Path, scratch: Path, options: PipelineOptions) -> None:
    """Analyses the TFRecord files of `output` into `output/transform`."""
    chosen = settings.preprocess
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(scratch / "tft")):
        pipeline | "AnalyzeExamples" >> AnalyzeExamples(
            str(output / "examples-*.tfrecord"),
            str(output / "transform"),
            media_shape(settings.media),
            chosen.min_examples_per_class,
            chosen.analyze_share,
        )


def run_preprocess(
    settings: Settings, plan: CatalogPlan, output: Path, scratch: Path, options: PipelineOptions
) -> ExamplesManifest:
    """Writes `examples/` into the empty folder `output`; `scratch` is empty too."""
    write(settings, plan, output, scratch, options)
    reports, failed = read_rows(str(scratch / "reports.rows")), read_rows(str(scratch / "failed.rows"))
    rejects = Path(settings.workdir) / "rejects.parquet"
    totals = close_examples(output, reports, failed, plan, settings.preprocess, rejects)
    analyze(settings, output, scratch, options)
    return write_manifest(output, reports, totals, plan, media_shape(settings.media), settings)
