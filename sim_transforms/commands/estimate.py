"""`ruiji index --estimate`: what a run will take, before it runs; and after it, the estimate beside the outcome."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sim_transforms.commands.compared import size
from sim_transforms.commands.sample_source import SampleSource
from sim_transforms.errors import UsageError
from sim_transforms.hnsw.build_upper import build_upper
from sim_transforms.hnsw.partition import nearest_cells
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.quality.estimate import (
    Estimate,
    Inputs,
    Outcome,
    SampleTimes,
    Workers,
    compare,
    predict,
    sample_items,
    sample_settings,
    with_seconds,
)
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.quality.recall import LADDER
from sim_transforms.quality.sample import without_rejects
from sim_transforms.quality.warm import warm_kernels
from sim_transforms.records.codec import canonical_json
from sim_transforms.runs.digests import settings_digest
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.checksums import index_file
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]
Rows: TypeAlias = list[dict[str, Any]]

_QUERIES = 100
_CENTROIDS = 64
_UPPER_ITEMS = 1_000
STATE = "estimate.json"


def predict_sizes(source: SampleSource, settings: IndexSettings, workers: Workers) -> Estimate:
    """The part of the estimate for which no vector is read."""
    return predict(inputs_of(source), settings, workers)


def inputs_of(source: SampleSource) -> Inputs:
    """Counts and sizes of a source."""
    return Inputs(
        items=source.items,
        dimension=source.dimension,
        row_bytes=source.row_bytes,
        embeddings_bytes=source.file_bytes,
    )


def estimate(
    source: SampleSource, settings: IndexSettings, workers: Workers, notify: Callable[[str], None]
) -> Estimate:
    """The whole estimate: sizes, and the time of a sample that is built and measured here.

    Raises:
        UsageError: no item of the sample can be indexed.
    """
    sizes = predict_sizes(source, settings, workers)
    wanted = sample_items(source.items)
    notify(f"estimate: building a sample of {wanted:,} of {source.items:,} items")
    drawn = without_rejects(source.draw(wanted, settings.seed), settings.space)
    if not drawn.item_ids:
        raise UsageError(f"none of the {wanted:,} items that were drawn can be indexed (not finite, or zero in cosine)")
    with tempfile.TemporaryDirectory() as folder:
        chosen = sample_settings(len(drawn.item_ids), source.items, settings)
        times = time_sample(drawn.vectors, chosen, Path(folder))
    return with_seconds(sizes, replace(times, embed_core_seconds=source.embed_core_seconds), settings)


def time_sample(vectors: Array, settings: IndexSettings, folder: Path) -> SampleTimes:
    """Builds and measures [n, d] vectors in the empty `folder`, each step timed over all threads."""
    vectors = space_of(settings.space).prepare(vectors)
    warm_kernels(vectors, settings)
    path, above = folder / "sample.hnsw", vectors[:_UPPER_ITEMS]
    build, _ = _timed(build_whole, vectors, settings, path)
    upper, _ = _timed(build_upper, np.arange(len(above)), above, np.ones(len(above), np.int8), settings)
    centroids = vectors[:_CENTROIDS]
    cells, _ = _timed(nearest_cells, vectors, centroids, 1)
    exact, _ = _timed(exact_neighbors, vectors[:_QUERIES], vectors, 10, settings.space)
    checked, index = _timed(index_file, path, [path.stat().st_size])
    measured, _ = _timed(_measure, path, vectors[: settings.recall_queries], settings, len(vectors))
    return SampleTimes(
        items=len(vectors),
        shards=settings.shards or 1,
        build_core_seconds=build,
        upper_items=len(above),
        upper_core_seconds=upper,
        cell_core_seconds=cells / (len(vectors) * len(centroids)),
        exact_core_seconds=exact / (len(vectors[:_QUERIES]) * len(vectors)),
        byte_core_seconds=checked / index.size_bytes,
        measure_seconds=measured,
    )


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """(seconds of all threads of this process, what the function gave)."""
    began = time.process_time()
    result = function(*arguments)
    return time.process_time() - began, result


def _measure(path: Path, queries: Array, settings: IndexSettings, items: int) -> None:
    """As publishing does: a few steps of the ladder, then five passes."""
    searcher = NativeSearcher(path, settings.space, items, queries.shape[1])
    for ef in (*LADDER[:8], *[LADDER[8]] * 5):
        searcher.search(queries, 10, ef)


def estimate_json(figures: Estimate) -> dict[str, Any]:
    """The object that `--json` prints."""
    return asdict(figures)


def estimate_text(figures: Estimate) -> str:
    """The lines that a person reads."""
    seconds = figures.seconds
    lines = [
        ("items", f"{figures.items:,} of dimension {figures.dimension}, in {figures.shards:,} shards (expected)"),
        ("index", f"{size(figures.index_bytes)}, the published file"),
        ("embeddings", size(figures.embeddings_bytes)),
        ("shards", f"{size(figures.shard_files_bytes)} of items, {size(figures.graphs_bytes)} of graphs and links"),
        ("disk", f"{size(figures.disk_bytes)} at the peak beside the embeddings, the version in the store counted"),
        ("shuffled", size(figures.shuffled_bytes)),
        ("worker", f"{size(figures.worker_peak_bytes)} in the stage {figures.worker_peak_stage}, a process"),
        ("driver", size(figures.driver_peak_bytes)),
    ]
    if seconds is not None:
        lines.append(("time", f"{_duration(seconds)} on {figures.workers:,} workers with cores like this machine's"))
    return "\n".join(f"{name:<10} {shown}" for name, shown in lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def estimate_digest(source_digest: str, settings: IndexSettings) -> str:
    """Of what an estimate holds for: the vectors and the settings of the index."""
    return settings_digest({"source": source_digest, "index": settings})


def save_estimate(workdir: Path, digest: str, figures: Estimate) -> None:
    """Keeps the estimate for the run that may follow."""
    (workdir / "state").mkdir(parents=True, exist_ok=True)
    text = canonical_json({"digest": digest, "estimate": asdict(figures)})
    write_file(workdir / "state" / STATE, text.encode())


def saved_seconds(workdir: Path, digests: Sequence[str], workers: int) -> float | None:
    """The seconds of the last `--estimate` without the model's, where its inputs and its workers are these."""
    path = workdir / "state" / STATE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_bytes())
        kept = Estimate(**record["estimate"])
    except (ValueError, KeyError, TypeError):
        return None
    if record.get("digest") not in digests or kept.workers != workers or kept.seconds is None:
        return None
    return round(kept.seconds - (kept.embed_seconds or 0.0), 1)


@dataclass(frozen=True)
class Prediction:
    """An estimate at the start of a run; `began` is the monotonic clock then."""

    figures: Estimate
    began: float

    def line(self) -> str:
        """What is expected, in one line."""
        figures = self.figures
        return (
            f"expecting {figures.shards:,} shards, {size(figures.index_bytes)} of index, {size(figures.disk_bytes)} of "
            f"disk, {size(figures.worker_peak_bytes)} a worker, {size(figures.driver_peak_bytes)} for the driver"
        )

    def outcome(
        self, parts: Path, version: Path, shards: int, worker_peak_bytes: int | None, driver_peak_bytes: int | None
    ) -> Rows:
        """The estimate beside what came of it, just before the version is published.

        Args:
            parts: folder of the job's files.
            version: folder of the assembled version; counted twice, as it will stand in the store too.
            shards: that were built.
            worker_peak_bytes: the largest of the workers' reports, where they reported.
            driver_peak_bytes: memory of the process that publishes, where it is known.
        """
        outcome = Outcome(
            shards=shards,
            index_bytes=_index_bytes(version),
            disk_bytes=_tree_bytes(parts) + 2 * _tree_bytes(version),
            worker_peak_bytes=worker_peak_bytes,
            driver_peak_bytes=driver_peak_bytes,
            seconds=round(time.monotonic() - self.began, 1),
        )
        return [asdict(row) for row in compare(self.figures, outcome)]


def _index_bytes(version: Path) -> int:
    """Of the one file, or of those of the shards."""
    return sum(path.stat().st_size for path in version.rglob("*.hnsw"))


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
