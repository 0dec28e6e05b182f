"""embeddings/, or anyone's vectors -> an NMSLIB index, merged or a file a shard, published as a version.

ruiji index --config configs/digits.yaml
ruiji index --config configs/digits.yaml --examples work/a/examples --model work/a/model --workdir work/b
ruiji index --embeddings vectors.npy --ids names.txt --store work/vectors/store
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines._job import Job
from pipelines._main import Progress, no_progress
from sim_transforms.browse.page import with_page
from sim_transforms.browse.pictures import no_pictures
from sim_transforms.build_index import BuildIndex, IndexResult, collect_index
from sim_transforms.commands.estimate import Prediction
from sim_transforms.commands.page_pictures import ExamplePictures
from sim_transforms.index_input import IndexInput
from sim_transforms.options import runs_here
from sim_transforms.publish_version import (
    assemble_version,
    describe_published,
    make_manifest,
    measure_speed,
    publish_version,
    write_timings,
)
from sim_transforms.records.clips import SOURCE_ID, sound_of
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.resource_hints import asking
from sim_transforms.runs.tally import looking
from sim_transforms.settings.stages import IndexSettings, Settings
from sim_transforms.storage.open import open_store
from sim_transforms.worker_usage import peak_rss_bytes


@dataclass(frozen=True)
class MadeFrom:
    """What vectors were made with, where it is known: the folder of the model, and that of the decoded media."""

    model: Path | None = None
    examples: Path | None = None


def build_index(
    given: IndexInput,
    scratch: Path,
    settings: IndexSettings,
    options: PipelineOptions,
    progress: Progress | None = None,
) -> IndexResult:
    """Builds the parts of the index under the empty folder `scratch`."""
    show = progress or no_progress
    seconds = 1.0 if runs_here(options) else 10.0
    hints = asking(options).index(given.source.items, given.source.dimension, settings)
    with looking(partial(_show, scratch, show), seconds), Job("index", options) as pipeline:
        pieces = pipeline | "Pieces" >> beam.Create(given.source.pieces)
        pieces | "BuildIndex" >> BuildIndex(given, str(scratch), settings, runs_here(options), hints)
    return collect_index(str(scratch), given)


def _show(scratch: Path, show: Callable[[str, int, int], None]) -> None:
    """Tells how many of the shards are built: most of the work, as far as shards are known."""
    names = [entry.name for entry in os.scandir(scratch) if entry.name.startswith("shard-")]
    shards = sum(name.endswith(".arrow") for name in names)
    built = sum(name.endswith(".links.npy") for name in names)
    if 0 < built < shards:
        show("index", built, shards)


def publish_index(
    folder: Path,
    built: IndexResult,
    made_from: MadeFrom,
    settings: Settings,
    timings: dict[str, Any],
    prediction: Prediction,
    turn: Callable[[], str] | None = None,
) -> dict[str, Any]:
    """Puts `folder/parts` together into a version, measures it, compares it with `prediction`, publishes it."""
    calibration = ModelManifest.load(made_from.model).calibration if made_from.model is not None else None
    version = folder / "version"
    version.mkdir()
    store = open_store(settings.store)
    began = time.monotonic()
    sizes = assemble_version(version, str(folder / "parts"), built.outcome.plans, settings.index.layout)
    timings["graph_seconds"] = round(built.graph_seconds + time.monotonic() - began, 3)
    began = time.monotonic()
    described = make_manifest(
        version, sizes, built.outcome, built.manifest, settings.index, calibration, settings.search
    )
    speed = measure_speed(version, built.outcome.exact, described, settings.search)
    timings["measure_seconds"] = round(time.monotonic() - began, 3)
    began = time.monotonic()
    pictures = ExamplePictures(made_from.examples) if made_from.examples is not None else no_pictures
    described = with_page(version, described, settings, pictures)
    timings["page_seconds"] = round(time.monotonic() - began, 3)
    memory = (built.worker_peak_bytes, peak_rss_bytes())
    compared = {"estimate": prediction.outcome(folder / "parts", version, len(built.outcome.plans), *memory)}
    write_timings(version, {**timings, **speed, **compared, "shares": built.shares})
    published = publish_version(store, version, described, turn)
    counts = {"rejected": built.totals.rejected, **_sounds(version, built)}
    return {**describe_published(store, published), **counts, **speed, **compared}


def _sounds(version: Path, built: IndexResult) -> dict[str, int]:
    """Of clips: sounds that have one in the index, and those of which no clip could be indexed."""
    if built.manifest.clips is None:
        return {}
    held = set(pq.read_table(version / "items.parquet", columns=[SOURCE_ID]).column(SOURCE_ID).unique().to_pylist())
    return {"sounds": len(held), "sounds_rejected": len({sound_of(item.item_id) for item in built.failed} - held)}
