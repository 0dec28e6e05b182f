"""A changed catalog -> the next version: only what is new or changed is embedded, and the published index is patched.

ruiji reindex --config configs/digits.yaml
ruiji reindex --config configs/digits.yaml --reread --json
"""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines._job import Job
from pipelines._main import Main
from pipelines.embed import embed
from pipelines.next_version import NextVersion, cache_of_workers, job_name, lease_file, options_for
from pipelines.preprocess import write_examples
from pipelines.run import Runner
from pipelines.stages import Stages
from sim_transforms.commands.summary import RunSummary, summary_json, summary_text
from sim_transforms.diff_catalog import BUCKET_ITEMS, CatalogDiff, DiffCatalog, gather_diff
from sim_transforms.errors import CatalogError, DamagedArtefact, ModelMismatch, NotFound
from sim_transforms.failures import judge_rejects, reasons_of, write_rejects
from sim_transforms.finish_examples import all_columns, close_examples, example_shards, write_manifest
from sim_transforms.hand_back import HandBack, read_rows, unordered
from sim_transforms.media.catalog import plan_catalog
from sim_transforms.media.catalog_plan import CatalogPlan
from sim_transforms.media.decode import media_shape, most_bytes
from sim_transforms.media.guard import bounds_of
from sim_transforms.options import runs_here
from sim_transforms.publish_patch import CatalogChange, catalog_digest
from sim_transforms.publish_version import describe_published
from sim_transforms.read_catalog import FAILED, ReadCatalog
from sim_transforms.records.batches import embeddings_schema
from sim_transforms.records.clips import SOURCE_ID
from sim_transforms.records.items import FailedItem, MediaRef
from sim_transforms.records.ledger import LedgerEntry, LedgerTotals, balance
from sim_transforms.records.manifests import ModelManifest, VersionManifest
from sim_transforms.records.media import Clips
from sim_transforms.runs.lock import workdir_lock
from sim_transforms.runs.stages import scratch_folder
from sim_transforms.runs.state import StageState
from sim_transforms.settings.stages import Settings
from sim_transforms.storage.leases import KeptLease
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import load_manifest
from sim_transforms.write_examples import ShardJob

_SUBSET = "items.parquet"
_COUNTS = ("added", "changed", "removed", "metadata_changed", "files_read")


def reindex(main: Main) -> None:
    """`ruiji reindex [--reread]`."""
    settings = main.settings()
    main.check_flags(settings)
    stages = Stages(main, settings)
    store = open_store(settings.store)
    with (
        workdir_lock(stages.workdir),
        KeptLease(store, job_name(settings), remember=lease_file(stages.workdir)) as lease,
        scratch_folder(stages.workdir, "reindex") as scratch,
    ):
        run = Reindex(main, settings, stages, (scratch, lease))
        reason = run.why_embed_all()
        if reason is None:
            result, page = run.run(main.arguments.reread)
            return main.answer(result, _text(result, page))
        main.notify(f"reindex: every item is embedded anew: {reason}; vectors of two models are never mixed")
        runner = Runner(main, settings, stages)
        preprocessed = runner.preprocess()
        summary = RunSummary(preprocessed, *runner.index(run.turn), None, None)
        # What differs from the version of the other model was not looked at.
        answer = {**summary_json(summary), "how": "rebuilt", **dict.fromkeys(_COUNTS), "seconds": run.seconds()}
    return main.answer(answer, summary_text(summary))


@dataclass(frozen=True)
class Embedded:
    """What became of new and changed items.

    Attributes:
        table: item_id, label, split, digest, embedding and metadata of each, or of the clips of each, by item_id.
        failed: those that could not be decoded.
        inferences: items, or clips, that went through the model.
    """

    table: pa.Table
    failed: tuple[FailedItem, ...]
    inferences: int

    def items(self, clips: bool) -> int:
        """Items of the catalog that have vectors now."""
        return int(pc.count_distinct(self.table.column(SOURCE_ID)).as_py()) if clips else int(self.table.num_rows)


class Reindex:
    """One run.

    Args:
        main: the command.
        settings: of the catalog.
        stages: where its artefacts lie.
        held: an empty folder that all workers share, and the lease that keeps other runs out.
    """

    def __init__(self, main: Main, settings: Settings, stages: Stages, held: tuple[Path, KeptLease]) -> None:
        """Opens what is published; imports no TensorFlow before there is something to embed."""
        from sim_transforms.commands.published import Opened, open_latest

        self._main, self._settings, self._stages = main, settings, stages
        self._scratch, self._lease = held
        self._options: PipelineOptions = main.options(settings)
        self._model = ModelManifest.load(stages.model)
        cache, with_page = cache_of_workers(self._options, self._scratch), settings.index.page_items > 0
        self._opened: Opened = open_latest(settings.store, cache, with_page=with_page)
        self._manifest: VersionManifest = self._opened.manifest
        self._store: ObjectStore = open_store(settings.store)
        self._plan = plan_catalog(stages.source(), settings.catalog.allow_outside, stages.files())
        self._columns = all_columns(self._plan, settings.media.kind)
        self._clips = media_shape(settings.media).clips
        self._began = time.monotonic()

    def why_embed_all(self) -> str | None:
        """Why the published vectors cannot be used, or null where they can.

        Raises:
            ModelMismatch: they were made elsewhere, by no model that is known here; or this model's own version was
                published and LATEST then moved to another model's; or the model takes other clips than `media` cuts.
        """
        manifest, space = self._manifest, self._settings.index.space
        if self._clips != self._model.media.clips:
            raise ModelMismatch(
                f"media cuts {_described(self._clips)}, and {self._stages.model} was trained on "
                f"{_described(self._model.media.clips)}: set media as it was, or train anew with `ruiji run`"
            )
        if not manifest.model:
            raise ModelMismatch(
                f"version {self._opened.version} holds vectors that were made elsewhere; {self._stages.model} has not "
                "made them: publish them again with `ruiji index --embeddings`, or another store with `ruiji run`"
            )
        if manifest.model != self._model.fingerprint:
            self._check_not_withdrawn()
            return f"the model is {self._model.fingerprint[:16]}, the version's {manifest.model[:16]}"
        if manifest.clips != self._clips:
            return f"media cuts {_described(self._clips)}, the version holds {_described(manifest.clips)}"
        return f"index.space is {space}, the version's {manifest.space}" if manifest.space != space else None

    def _check_not_withdrawn(self) -> None:
        """A schedule must not undo a rollback."""
        known = StageState(self._stages.workdir).value("index")
        version = str(known["version"]) if known else ""
        if version in ("", self._opened.version):
            return
        try:
            made_with = load_manifest(self._store, version).model
        except (NotFound, DamagedArtefact):
            return
        if made_with == self._model.fingerprint:
            raise ModelMismatch(
                f"LATEST is version {self._opened.version}, of another model; version {version} of the model in "
                f"{self._stages.model} was published before, and LATEST was moved away from it: `ruiji versions "
                f"rollback {version}` takes it back, `ruiji run` publishes a model that was trained anew"
            )

    def turn(self) -> str:
        """The version that the next one must follow; raises LeaseHeld where another run has taken over."""
        self._lease.check()
        return self._opened.version

    def run(self, reread: bool) -> tuple[dict[str, Any], str | None]:
        """Brings the published version up to date; the answer of the command, and where the new one's page lies."""
        plan = self._plan
        diff = self._compare(plan, reread)
        again = diff.of("added", "changed")
        self._main.notify(
            f"reindex: {len(diff.of('added')):,} added, {len(diff.of('changed')):,} changed, "
            f"{len(diff.of('removed')):,} removed, {len(diff.of('metadata')):,} with other metadata, {diff.same:,} the "
            f"same; {diff.files_read:,} media read to compare them"
        )
        embedded = self._embed([d.reference for d in again if d.reference is not None])
        failed = tuple(sorted((*diff.failed, *embedded.failed)))
        if failed:
            where = self._stages.workdir / "rejects.parquet"
            self._main.notify(f"reindex: {len(failed):,} rejected ({reasons_of(failed)}); they are named in {where}")
        skipped = diff.same + len(diff.of("metadata"))
        totals = self._account(plan, skipped, embedded, failed)
        deleted = [place.row for d in diff.of("removed", "changed") for place in d.places]
        change = CatalogChange(
            deleted=np.array(sorted(deleted), np.int32),
            updates=tuple(diff.of("metadata")),
            fresh=embedded.table,
            metadata_columns=self._columns,
            digest=catalog_digest(self._manifest, diff.differences, embedded.table),
        )
        held = self._scratch, self._main, self._lease
        examples = self._scratch / "subset" / "examples", self._stages.examples
        following = NextVersion(self._opened, self._store, self._settings, *held, examples)
        how, version = following.publish(change)
        self._remember()
        return self._answer(how, version, totals, embedded, diff)

    def _compare(self, plan: CatalogPlan, reread: bool) -> CatalogDiff:
        fresh, rows = self._scratch / "sources", self._scratch / "rows"
        fresh.mkdir()
        rows.mkdir()
        buckets = max(1, -(-max(plan.rows, self._manifest.items) // BUCKET_ITEMS))
        transform = DiffCatalog(
            ReadCatalog(plan, self._settings.train.seed),
            str(self._opened.folder / _SUBSET),
            str(self._stages.workdir / "sources"),
            str(fresh),
            buckets,
            clips=self._manifest.clips is not None,
            most_bytes=most_bytes(self._settings.media.kind),
            reread=reread,
            spill=str(rows) if runs_here(self._options) else None,
        )
        with Job("diff", options_for(self._main, self._settings, max(plan.rows, self._manifest.items))) as pipeline:
            parts = pipeline | "DiffCatalog" >> transform
            parts["differences"] | "HandBackDiff" >> HandBack(str(rows / "diff"), key=unordered)
            parts[FAILED] | "HandBackFailed" >> HandBack(str(rows / "failed"))
        diff = gather_diff(read_rows(str(rows / "diff")), read_rows(str(rows / "failed")))
        repeated = diff.of("repeated")
        if repeated:
            shown = ", ".join(f"{d.item_id!r} (rows {', '.join(map(str, d.rows))})" for d in repeated[:10])
            found = f"the catalog gives {len(repeated)} item_id(s) more than once: {shown}"
            raise CatalogError(f"{found}; ids must be unique")
        return diff

    def _embed(self, references: list[MediaRef]) -> Embedded:
        """Decodes and embeds some items by the same stages as a whole catalog."""
        schema = embeddings_schema(self._model.embedding_size, self._columns)
        if not references:
            return Embedded(schema.empty_table(), (), 0)
        folder = self._scratch / "subset"
        examples, embeddings, rows = folder / "examples", folder / "embeddings", folder / "rows"
        accounts = folder / "accounts"
        for path in (examples, embeddings, rows, accounts):
            path.mkdir(parents=True)
        subset = plan_catalog(str(_write_catalog(folder, references, self._plan.metadata_columns)), allow_outside=True)
        settings = replace(
            self._settings,
            workdir=str(folder),
            preprocess=replace(self._settings.preprocess, max_reject_share=1.0),
        )
        options = options_for(self._main, self._settings, len(references))
        media = media_shape(settings.media)
        shards = example_shards(subset.rows, settings.preprocess, media.kind)
        job = ShardJob(
            str(examples), str(accounts), shards, media, bounds_of(settings.preprocess), settings.preprocess.compression
        )
        reports, failed = write_examples(settings, subset, job, rows, options)
        rejected = tuple(sorted([*failed, *(item for report in reports for item in report.failed)]))
        if len(rejected) == len(references):
            return Embedded(schema.empty_table(), rejected, 0)
        totals = close_examples(examples, reports, failed, subset, settings.preprocess, folder / "rejects.parquet")
        write_manifest(examples, reports, totals, subset, media, settings)
        manifest = embed(examples, self._stages.model, embeddings, rows, options)
        tables = [pq.read_table(embeddings / entry.name) for entry in manifest.files]
        return Embedded(pa.concat_tables(tables).cast(schema).sort_by("item_id"), rejected, manifest.inferences)

    def _account(
        self, plan: CatalogPlan, skipped: int, embedded: Embedded, failed: tuple[FailedItem, ...]
    ) -> LedgerTotals:
        """Every row of the catalog is the same, embedded or rejected."""
        done = embedded.items(self._clips is not None)
        entry = LedgerEntry("reindex", "all", plan.rows, done, len(failed), skipped)
        totals = balance("reindex", [entry], expected_in=plan.rows)
        rejects = self._stages.workdir / "rejects.parquet"
        write_rejects(rejects, failed)
        left = replace(totals, items_out=totals.items_out + totals.skipped)
        judge_rejects(left, failed, self._settings.preprocess.max_reject_share, rejects)
        return totals

    def _remember(self) -> None:
        """Keeps what is known of the files, so that the next run need not read them."""
        target = self._stages.workdir / "sources"
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(self._scratch / "sources", target)

    def _answer(
        self, how: str, version: str | None, totals: LedgerTotals, embedded: Embedded, diff: CatalogDiff
    ) -> tuple[dict[str, Any], str | None]:
        shown = describe_published(self._store, version or self._opened.version)
        dropped = {item.item_id for item in embedded.failed}
        added, changed = ([d for d in diff.of(kind) if d.item_id not in dropped] for kind in ("added", "changed"))
        clips = {} if self._clips is None else {"clips": shown["items"]}
        answer = {
            "version": version,
            "items": totals.items_in,
            "accepted": totals.items_out + totals.skipped if clips else shown["items"],
            **clips,
            "rejected": totals.rejected,
            "skipped": totals.skipped,
            "inferences": embedded.inferences,
            "recall_at_10": shown["recall_at_10"],
            "ef_search": shown["ef_search"],
            "how": how,
            "added": len(added),
            "changed": len(changed),
            "removed": len(diff.of("removed")),
            "metadata_changed": len(diff.of("metadata")),
            "files_read": diff.files_read,
            "seconds": self.seconds(),
        }
        return answer, shown["page"] if version else None

    def seconds(self) -> float:
        """Since this run began."""
        return round(time.monotonic() - self._began, 3)


def _described(clips: Clips | None) -> str:
    """For messages."""
    return "no clips" if clips is None else f"clips of {clips.seconds:g} s, one every {clips.hop_seconds:g} s"


def _write_catalog(folder: Path, references: list[MediaRef], columns: dict[str, str]) -> Path:
    """A catalog of some references."""
    rows = [
        {**dict(r.metadata), "item_id": r.item_id, "uri": r.uri, "label": r.label, "split": r.split} for r in references
    ]
    schema = embeddings_schema(1, columns)
    kept = [field for field in schema if field.name not in ("digest", "embedding")]
    path = folder / "catalog.parquet"
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([*kept, ("uri", pa.string())])), path)
    return path


def _text(result: dict[str, Any], page: str | None) -> str:
    counts = (
        f"items      {result['items']:,} in the catalog: {result['added']:,} added, {result['changed']:,} changed, "
        f"{result['skipped']:,} as they were, {result['rejected']:,} rejected; {result['removed']:,} removed"
        + (f"; {result['clips']:,} clips are indexed" if "clips" in result else "")
    )
    if result["version"] is None:
        return f"{counts}\nnothing has changed: no new version, 0 inferences"
    return (
        f"{counts}\ninferences {result['inferences']:,}\n"
        f"index      {result['how']}, recall@10 {result['recall_at_10']} at ef_search {result['ef_search']}\n"
        f"version    {result['version']}" + (f"\nbrowse     {page}" if page else "")
    )
