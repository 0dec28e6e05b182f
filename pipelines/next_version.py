"""A change of a published version -> the next one: patched, or built anew where a patch would not do.

What `ruiji reindex` and `ruiji forget` share; each brings its own CatalogChange.
"""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines._job import Job
from pipelines._main import Main, Progress
from pipelines.index import build_index
from sim_transforms.browse.page import with_page
from sim_transforms.browse.pictures import PagePictures, Pictures, first_of
from sim_transforms.commands.page_pictures import ExamplePictures
from sim_transforms.commands.published import Opened
from sim_transforms.errors import RecallError
from sim_transforms.index_input import open_embeddings
from sim_transforms.options import pipeline_options, runs_here, workers_are_here
from sim_transforms.patch_version import PatchVersion, plan_patch, read_exact
from sim_transforms.publish_patch import (
    CatalogChange,
    ask,
    assemble_patch,
    churn_of,
    describe_patch,
    index_change,
    overfull_shard,
    write_patched_items,
)
from sim_transforms.publish_version import assemble_version, make_manifest, write_timings
from sim_transforms.rebuild_version import write_live_embeddings
from sim_transforms.records.manifests import RowRange
from sim_transforms.resource_hints import asking
from sim_transforms.settings.stages import Settings
from sim_transforms.storage.cache import VersionCache
from sim_transforms.storage.leases import KeptLease
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import publish

Array = np.ndarray[Any, Any]

_ITEMS = "items.parquet"
# Up to so many items a job is done before further processes would have started.
_LIGHT_ITEMS = 20_000
_BUILT_WITH = ("m", "ef_construction", "seed", "neighbor_shards", "layout", "builder", "shard_items", "shards")


def job_name(settings: Settings) -> str:
    """Of the lease in the store that lets one run at a time change the versions of a catalog."""
    return f"reindex-{settings.name}"


def lease_file(workdir: Path) -> Path:
    """Where a run notes that it holds the lease: the next run in that working directory, which is locked, need not wait
    for the lease of one that was killed."""
    return workdir / "state" / "lease"


def options_for(main: Main, settings: Settings, items: int) -> PipelineOptions:
    """Options of a job over some items: one process for few, unless the runner was chosen."""
    if items > _LIGHT_ITEMS or main.beam_flags or settings.beam:
        return main.options(settings)
    return pipeline_options(["--runner=FnApiRunner", "--direct_running_mode=in_memory"], {}, [])


def cache_of_workers(options: PipelineOptions, scratch: Path) -> VersionCache | None:
    """Where a remote version's files are brought for a job that maps them; null for the user's own cache.

    Workers on other machines see the working directory, in which `scratch` lies, and no user's cache.
    """
    return None if workers_are_here(options) else VersionCache(scratch / "cache")


@dataclass(frozen=True)
class NextVersion:
    """Makes and publishes the version that follows an opened one.

    Attributes:
        opened: LATEST.
        store: that holds it.
        settings: of the catalog.
        scratch: folder that all workers share; its sub-folders patch, version, parts, rebuilt and live are used.
        main: the command; told why an index is built anew.
        lease: keeps other runs out; looked at before publishing.
        examples: folders that may hold decoded media of what the version before shows no picture of.
    """

    opened: Opened
    store: ObjectStore
    settings: Settings
    scratch: Path
    main: Main
    lease: KeptLease
    examples: tuple[Path, ...] = ()

    def publish(self, change: CatalogChange, reason: str | None = None) -> tuple[str, str | None]:
        """How the version was brought up to date (`unchanged`, `patched`, `rebuilt`), and the new version.

        Args:
            change: what is different.
            reason: why the index is built anew, where the caller knows one already.

        Raises:
            RecallError: the index that was built anew misses its target; LATEST is what it was.
            PublishConflict: another job has published meanwhile.
        """
        reason = reason or self._why_rebuild(change)
        manifest, settings = self.opened.manifest, self.settings.index
        changed = len(change.deleted) or change.fresh.num_rows or change.updates
        # The page that the configuration wants now, not that of when the version was made.
        changed = changed or settings.wants_page(manifest.items) != manifest.has_page
        if not changed and reason is None and settings.recall_target == manifest.recall_target:
            return "unchanged", None
        if reason is None:
            try:
                return "patched", self._patch(change)
            except RecallError as error:
                reason = f"the patched index misses the target ({error})"
        self.main.notify(f"{self.main.arguments.command}: the index is built anew: {reason}")
        shutil.rmtree(self.scratch / "patch", ignore_errors=True)
        return "rebuilt", self._rebuild(change)

    def _why_rebuild(self, change: CatalogChange) -> str | None:
        manifest, settings = self.opened.manifest, self.settings.index
        left = manifest.items + change.fresh.num_rows - len(change.deleted)
        churn = manifest.churn + churn_of(change, manifest.items)
        differing = [n for n in _BUILT_WITH if manifest.parameters.get(n) != getattr(settings, n)]
        if differing:
            name = differing[0]
            return f"index.{name} is {getattr(settings, name)}, the version's {manifest.parameters.get(name)}"
        if manifest.layout_is_routed:
            return "shards of layout routed are built anew"
        if left == 0 or manifest.items == 0:
            return "no item is left" if left == 0 else "the version holds no item"
        if churn > self.settings.reindex.rebuild_above:
            most = self.settings.reindex.rebuild_above
            return f"{churn:.1%} have changed since it was built, reindex.rebuild_above is {most:.1%}"
        return overfull_shard(change, self._parts(), left, settings)

    def _parts(self) -> tuple[tuple[RowRange, ...], Array, Array]:
        opened = self.opened
        return opened.manifest.row_ranges, opened.array("centroids.npy"), opened.array("free_rows.npy")

    def _pictures(self) -> Pictures:
        """Of items whose media have not changed out of the page of before, of the others out of the examples."""
        page = [PagePictures(self.opened.folder)] if self.opened.has_page else []
        return first_of([*page, *map(ExamplePictures, self.examples)])

    def _patch(self, change: CatalogChange) -> str:
        settings, manifest, before = self.settings, self.opened.manifest, self.opened.folder
        parts, folder = self.scratch / "patch", self.scratch / "version"
        shutil.rmtree(folder, ignore_errors=True)
        for path in (parts, folder):
            path.mkdir()
        began = time.monotonic()
        placed = index_change(change, settings.index), self._parts()
        planned = plan_patch(before / "index.hnsw", parts, *placed, settings.index)
        write_patched_items(before / _ITEMS, folder / _ITEMS, change, planned.rows)
        asked = ask(planned, folder / _ITEMS, settings.index)
        options = options_for(self.main, settings, manifest.items)
        patching = PatchVersion(planned.plan, asked, runs_here(options))
        hints = asking(options).index(manifest.items, manifest.dimension, settings.index).shards
        with Job("patch", options) as pipeline:
            pipeline | "PatchVersion" >> patching.with_resource_hints(**hints)
        sizes = assemble_patch(folder, before, planned)
        timings = {"patch_seconds": round(time.monotonic() - began, 3)}
        # Measured against the target of now, which may be another than the version's.
        parent = (self.opened.version, replace(manifest, recall_target=settings.index.recall_target))
        described = describe_patch(folder, parent, change, planned, sizes, read_exact(planned.plan), settings.search)
        described = with_page(folder, described, settings, self._pictures())
        write_timings(folder, timings)
        self.lease.check()
        return publish(self.store, folder, described)

    def _rebuild(self, change: CatalogChange) -> str:
        """Builds an index of the published vectors and the new ones."""
        settings, manifest = self.settings, self.opened.manifest
        parts, folder, source = self.scratch / "parts", self.scratch / "rebuilt", self.scratch / "live"
        for path in (parts, folder, source):
            path.mkdir()
        write_live_embeddings(self.opened.folder, manifest, change, source)
        given = open_embeddings(source, None, settings.index.space)
        built = build_index(
            given, parts, settings.index, self.main.options(settings), Progress(self.main, "shards built")
        )
        sizes = assemble_version(folder, str(parts), built.outcome.plans, settings.index.layout)
        described = make_manifest(
            folder, sizes, built.outcome, built.manifest, settings.index, manifest.calibration, settings.search
        )
        described = with_page(folder, described, settings, self._pictures())
        self.lease.check()
        write_timings(folder, {"graph_seconds": round(built.graph_seconds, 3)})
        # After the version whose items it holds, and no other: what another job has published would be lost in it.
        return publish(self.store, folder, replace(described, parent=self.opened.version))
