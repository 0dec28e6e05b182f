"""examples/ + model/ -> embeddings/ -> one merged NMSLIB index, published as a version.

ruiji index --config configs/digits.yaml
ruiji index --config configs/digits.yaml --examples work/a/examples --model work/a/model --workdir work/b
"""

import time
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from sim_transforms.build_index import BuildIndex, IndexResult, collect_index
from sim_transforms.commands.estimate import Prediction
from sim_transforms.embed_examples import EmbedExamples
from sim_transforms.finish_embeddings import finish_embeddings
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.options import threads_of_worker
from sim_transforms.publish_version import (
    assemble_version,
    describe_published,
    make_manifest,
    measure_speed,
    publish_version,
    write_timings,
)
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest, ModelManifest
from sim_transforms.settings.stages import IndexSettings, Settings
from sim_transforms.storage.open import open_store


def embed(examples: Path, model: Path, output: Path, scratch: Path, options: PipelineOptions) -> EmbeddingsManifest:
    """Embeds every example into the empty folder `output`."""
    described = ExamplesManifest.load(examples)
    trained = ModelManifest.load(model)
    transform = EmbedExamples(
        str(examples), str(model), str(output), described, trained.embedding_size, threads_of_worker(options)
    )
    ledger = str(scratch / "embed.rows")
    with beam.Pipeline(options=options) as pipeline:
        shards = pipeline | "Shards" >> beam.Create(range(described.shards))
        entries = shards | "EmbedExamples" >> transform
        entries | "HandBackLedger" >> HandBack(ledger)
    return finish_embeddings(output, read_rows(ledger), described, trained)


def build_index(embeddings: Path, scratch: Path, settings: IndexSettings, options: PipelineOptions) -> IndexResult:
    """Builds the parts of the index under the empty folder `scratch`."""
    manifest = EmbeddingsManifest.load(embeddings)
    paths = [str(embeddings / entry.name) for entry in manifest.files]
    with beam.Pipeline(options=options) as pipeline:
        files = pipeline | "Files" >> beam.Create(paths)
        files | "BuildIndex" >> BuildIndex(manifest, str(scratch), settings)
    return collect_index(str(scratch), manifest)


def publish_index(
    folder: Path,
    built: IndexResult,
    embeddings: Path,
    model: Path,
    settings: Settings,
    timings: dict[str, Any],
    prediction: Prediction,
) -> dict[str, Any]:
    """Puts `folder/parts` together into a version, measures it, compares it with `prediction`, publishes it."""
    manifest = EmbeddingsManifest.load(embeddings)
    calibration = ModelManifest.load(model).calibration if manifest.model else None
    version = folder / "version"
    version.mkdir()
    store = open_store(settings.store)
    began = time.monotonic()
    sizes = assemble_version(version, str(folder / "parts"), built.outcome.plans)
    timings["graph_seconds"] = round(built.graph_seconds + time.monotonic() - began, 3)
    began = time.monotonic()
    described = make_manifest(version, sizes, built.outcome, manifest, settings.index, calibration)
    speed = measure_speed(version, built.outcome.exact, described)
    timings["measure_seconds"] = round(time.monotonic() - began, 3)
    compared = {"estimate": prediction.outcome(folder / "parts", version, len(built.outcome.plans))}
    write_timings(version, {**timings, **speed, **compared})
    published = publish_version(store, version, described)
    rejected = {"rejected": built.totals.rejected}
    return {**describe_published(store, published), **rejected, **speed, **compared}
