"""The stages of a run, wired: what each depends on, what it writes, which function works it."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines._main import Main, Progress
from sim_transforms.errors import CatalogError
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.runs.digests import settings_digest, tree_digest
from sim_transforms.runs.folders import only_child
from sim_transforms.runs.stages import Results, Stage, scratch_folder
from sim_transforms.settings.stages import Settings
from sim_transforms.settings.training import shaping

if TYPE_CHECKING:
    from sim_transforms.media.remote import RemoteFiles
    from trainer.trials import Searched

_SHARED = ("sim_transforms.records", "sim_transforms.storage", "sim_transforms.settings")
_MEDIA = ("sim_transforms.media", "sim_transforms.features")


def _modules(*names: str) -> tuple[str, ...]:
    return (*_SHARED, *(f"sim_transforms.{name}" for name in names))


class Stages:
    """Makes the stages of one configuration; a stage is made when those before it have run.

    Args:
        main: the running command.
        settings: of the catalog.
        examples, model: artefacts to use in place of the working directory's own.
    """

    def __init__(self, main: Main, settings: Settings, examples: str | None = None, model: str | None = None) -> None:
        """Imports nothing heavy: a run in which nothing has changed stays fast."""
        self._main, self._settings = main, settings
        self.workdir = Path(settings.workdir).absolute()
        self.examples = Path(examples).absolute() if examples else self.workdir / "examples"
        self.model = Path(model).absolute() if model else self.workdir / "model"
        self.embeddings = self.workdir / "embeddings"
        self.evaluation = self.workdir / "evaluation"
        self.report = self.workdir / "report"

    def source(self) -> str:
        """The catalog to read; writes the built-in one out where it is asked for."""
        source = self._settings.catalog.source
        if not source.startswith("builtin:"):
            return source
        from sim_transforms.media.digits import write_digits
        from sim_transforms.media.songs import write_songs

        folder = self.workdir / "catalog"
        if source == "builtin:digits":
            return str(write_digits(folder, self._settings.train.seed))
        if source == "builtin:songs":
            return str(write_songs(folder))
        raise CatalogError(f"catalog.source: found {source}; builtin:digits and builtin:songs are known")

    def files(self) -> "RemoteFiles":
        """Where a catalog and media with a scheme lie."""
        return self._main.files(self._settings)

    def preprocess(self, retry_rejects: bool = False) -> Stage:
        """catalog + media -> examples/; with `retry_rejects` rejected files are tried again, changed or not."""
        from sim_transforms.media.catalog import catalog_stat_digest, plan_catalog

        settings, files = self._settings, self.files()
        plan = plan_catalog(self.source(), settings.catalog.allow_outside, files)
        inputs = {
            "catalog": catalog_stat_digest(plan, files),
            "settings": [
                settings.media,
                settings.preprocess,
                settings.catalog.allow_outside,
                settings.train.seed,
            ],
        }

        def work(folder: Path) -> Results:
            from pipelines.preprocess import run_preprocess
            from sim_transforms.commands.drift import check_drift, drift_base

            bound = settings.preprocess.max_drift
            before = drift_base(settings.store, self.model, bound)
            with scratch_folder(self.workdir, "preprocess") as scratch:
                options, progress = self._main.options(settings), Progress(self._main, "files")
                done = run_preprocess(settings, plan, folder, scratch, options, progress, retry_rejects)
            drift = check_drift(before, done.statistics, bound, self._main.notify)
            done.kept.accept(folder, done.generations)
            counts = {"decoded": done.decoded, "reused": done.reused, "analyzed": done.analyzed}
            return {"ledger": _totals(done.manifest), **counts, "drift": drift}

        modules = _modules(
            "media", "features", "beam_files", "read_catalog", "write_examples", "finish_examples", "analyze_examples",
            "keep_decoded", "kept_media",
        )  # fmt: skip
        return Stage("preprocess", inputs, modules, self.examples, work, again=retry_rejects)

    def train(self) -> Stage:
        """examples/ -> model/; a training that was killed goes on from `<workdir>/training/<digest>/`."""
        settings = self._settings
        inputs = {
            "examples": tree_digest(self.examples),
            "settings": shaping(settings.train),
            "space": settings.index.space,
        }

        def work(folder: Path) -> Results:
            from trainer.backbones.weights import fetch_weights
            from trainer.fit import Watchers
            from trainer.task import train

            notes = only_child(self.workdir / "training", stage.digest()[:16])
            watchers = Watchers(notes, Progress(self._main, goes_on=True), self._main.notify)
            in_use = self.model if settings.train.gate else None
            manifest = train(self.examples, folder, settings, watchers, fetch_weights, in_use)
            return {"metrics": manifest.metrics, "best_epoch": manifest.best_epoch, "log": str(notes)}

        modules = (*_modules("features", "quality.retrieval", "quality.exact", "quality.open_set"), "trainer")
        stage = Stage("train", inputs, modules, self.model, work)
        return stage

    def search(self, trials: int) -> "tuple[Path, Searched]":
        """Trains by some settings after others; the folder of the search, and what it found."""
        from trainer.backbones.weights import fetch_weights
        from trainer.fit import Watchers
        from trainer.task import score
        from trainer.trials import search

        settings = self._settings
        shaped = replace(shaping(settings.train), search=settings.train.search)
        digest = settings_digest({"examples": tree_digest(self.examples), "settings": shaped})
        folder = only_child(self.workdir / "trials", digest[:16])

        def told(chosen: Settings, notes: Path, on_epoch: Callable[[int, float], None]) -> float:
            watchers = Watchers(notes, Progress(self._main, goes_on=True), self._main.notify, on_epoch)
            return score(self.examples, chosen, watchers, fetch_weights)

        return folder, search(settings, folder, trials, told)

    def embed(self) -> Stage:
        """examples/ + model/ -> embeddings/."""
        inputs = {"examples": tree_digest(self.examples), "model": tree_digest(self.model)}

        def work(folder: Path) -> Results:
            from pipelines.embed import embed

            with scratch_folder(self.workdir, "embed") as scratch:
                options = self._main.options(self._settings)
                progress = Progress(self._main, "items")
                manifest = embed(self.examples, self.model, folder, scratch, options, progress)
            return {"inferences": manifest.inferences}

        modules = _modules("features", "embedding", "embed_examples", "finish_embeddings")
        return Stage("embed", inputs, modules, self.embeddings, work)

    def index(
        self, embeddings: Path | None = None, ids: Path | None = None, turn: Callable[[], str] | None = None
    ) -> Stage:
        """Vectors -> a published version: those of `embeddings`, or the working directory's own.

        Args:
            embeddings, ids: of vectors made elsewhere.
            turn: says which version it must follow (`publish_version`).
        """
        from sim_transforms.browse.static_files import static_digest
        from sim_transforms.index_input import open_embeddings

        settings, own = self._settings, embeddings is None
        path = self.embeddings if embeddings is None else embeddings
        given = open_embeddings(path, ids, settings.index.space)
        inputs = {
            "embeddings": given.source.files if given.is_foreign else tree_digest(path),
            "settings": settings.index,
            "probe": settings.search.probe if settings.index.layout == "routed" else None,
            "store": settings.store,
            "max_reject_share": settings.preprocess.max_reject_share,
            "page": static_digest() if settings.index.page_items else None,
        }

        def work(folder: Path) -> Results:
            from pipelines.index import MadeFrom, build_index, publish_index
            from pipelines.tune import predict_run
            from sim_transforms.failures import judge_rejects, write_rejects

            parts = folder / "parts"
            parts.mkdir()
            options = self._main.options(settings)
            prediction = predict_run(self, settings.index, options, embeddings, ids)
            self._main.notify(f"index: {prediction.line()}")
            began = time.monotonic()
            built = build_index(given, parts, settings.index, options, Progress(self._main, "shards built"))
            timings = {"build_seconds": round(time.monotonic() - began, 3)}
            rejects = self.workdir / "index_rejects.parquet"
            write_rejects(rejects, built.failed)
            judge_rejects(built.totals, built.failed, settings.preprocess.max_reject_share, rejects)
            made_from = MadeFrom(self.model if built.manifest.model else None, self.examples) if own else MadeFrom()
            published = publish_index(folder, built, made_from, settings, timings, prediction, turn)
            return {**published, "rejects": str(rejects)}

        modules = _modules(
            "hnsw", "quality", "index_input", "read_embeddings", "find_repeats", "fit_partition", "assign_shards",
            "build_shards", "link_shards", "merge_shards", "route_shards", "measure_recall", "publish_version",
            "build_index", "failures",
        )  # fmt: skip
        if settings.index.page_items:
            modules += _modules(
                "browse", "commands.page_pictures", "commands.thumbnails", "report.page", "report.media_page",
                "features.log_mel", "features.example_bytes",
            )  # fmt: skip
        return Stage("index", inputs, modules, None, work)

    def evaluate(self) -> Stage:
        """examples/ + model/ + embeddings/ -> evaluation/."""
        folders = (self.examples, self.model, self.embeddings)
        inputs = [tree_digest(folder) for folder in folders]

        def work(folder: Path) -> Results:
            from sim_transforms.commands.evaluate import evaluate, write_evaluation

            result, classes = evaluate(self.examples, self.embeddings, self.model, space=self._settings.index.space)
            write_evaluation(result, classes, folder)
            return result

        return Stage("evaluate", inputs, _modules("quality", "commands.evaluate"), self.evaluation, work)

    def page(self, version: str, evaluation: dict[str, Any]) -> Stage:
        """version + artefacts -> report/."""
        inputs = {
            "version": version,
            "store": self._settings.store,
            "evaluation": evaluation,
            "examples": tree_digest(self.examples),
        }

        def work(folder: Path) -> Results:
            from sim_transforms.commands.media_report import media_report
            from sim_transforms.commands.report import report

            name, prepared = self._settings.name, self._settings.preprocess
            found = media_report(self.examples, folder, name=name, preprocess=prepared, linked=True)
            report(
                self._settings.store,
                folder,
                name=self._settings.name,
                examples=self.examples,
                embeddings=self.embeddings,
                model=self.model,
                evaluation=self.evaluation,
            )
            return {key: value for key, value in found.items() if key != "report"}

        modules = _modules(
            "media", "features", "quality", "report", "lookup", "hnsw", "commands.report", "commands.report_gallery",
            "commands.thumbnails", "commands.diff", "commands.compared", "commands.artefacts",
            "commands.version_vectors", "commands.evaluate", "commands.media_report", "commands.media_hashes",
            "commands.media_samples",
        )  # fmt: skip
        return Stage("report", inputs, modules, self.report, work)


def _totals(manifest: ExamplesManifest) -> dict[str, int]:
    from sim_transforms.records.codec import to_plain

    totals: dict[str, int] = to_plain(manifest.ledger)
    return totals
