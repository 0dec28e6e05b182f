"""Parts of an index -> a published version: put together, measured, gated, made visible by moving LATEST.

Runs on the driver: it is one concatenation and a thousand queries. A remote store gets the parts side by side and puts
them together itself.
"""

import json
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import introspect

from sim_transforms.assign_shards import OWN_COLUMNS, centroids_of, read_shard
from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.hnsw.open_index import CENTROIDS, LONGEST, open_index
from sim_transforms.hnsw.searcher import Searcher
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.measure_recall import ExactAnswer
from sim_transforms.merge_shards import part_paths
from sim_transforms.quality.recall import RAISE, choose_ef, interval_of, tie_aware_recall
from sim_transforms.records.batches import Array, ShardPlan
from sim_transforms.records.manifests import (
    PAGE,
    Calibration,
    Canary,
    EmbeddingsManifest,
    FileEntry,
    RecallInterval,
    RowRange,
    ShardRecall,
    VersionManifest,
)
from sim_transforms.route_shards import FOLDER, shard_name
from sim_transforms.settings.stages import IndexSettings, SearchSettings
from sim_transforms.storage import versions
from sim_transforms.storage.checksums import file_entry, index_file
from sim_transforms.storage.object_store import ObjectStore

FILES = (CENTROIDS, "free_rows.npy", "items.parquet")
CANARIES = 16
MAX_EF = 2000
# Rows of items.parquet that a look-up decodes at once where it does not hold all of them.
ROW_GROUP_ITEMS = 8192
RAISE_ROUTED = (
    "raise search.probe (each query is searched in {probe} of {shards} shards), index.m or index.ef_construction"
)
DEFAULT_SEARCH = SearchSettings()


@dataclass(frozen=True)
class IndexOutcome:
    """What the index job leaves for publishing.

    Attributes:
        plans: shards in row order.
        exact: exact neighbours of sampled items.
        shard_recall: of each shard alone, in shard order.
    """

    plans: Sequence[ShardPlan]
    exact: ExactAnswer
    shard_recall: Sequence[ShardRecall] = ()


def assemble_version(folder: Path, parts: str, plans: Sequence[ShardPlan], layout: str = "merged") -> list[int]:
    """Writes the index and the files beside it; returns the bytes of each part of index.hnsw, none in layout routed."""
    _write_items(folder / "items.parquet", plans)
    centroids = centroids_of(plans) if plans else np.zeros((0, 0), np.float32)
    np.save(folder / CENTROIDS, centroids)
    np.save(folder / "free_rows.npy", np.zeros(0, np.int32))
    if layout == "merged":
        return join_parts(folder, part_paths(parts, len(plans)))
    np.save(folder / LONGEST, np.array([plan.file.longest for plan in plans], np.float32))
    _take_shards(folder, parts, plans)
    return []


def _take_shards(folder: Path, parts: str, plans: Sequence[ShardPlan]) -> None:
    """Moves the shard files, because together they are larger than one would keep twice."""
    (folder / FOLDER).mkdir()
    for plan in plans:
        shutil.move(Path(parts) / shard_name(plan.number), folder / shard_name(plan.number))


def join_parts(folder: Path, paths: Sequence[Path]) -> list[int]:
    """Writes index.hnsw as the parts one after the other; gives their bytes."""
    sizes = []
    with (folder / "index.hnsw").open("wb") as out:
        for path in paths:
            with path.open("rb") as part:
                shutil.copyfileobj(part, out, 16 * 2**20)
            sizes.append(path.stat().st_size)
    return sizes


def _write_items(path: Path, plans: Sequence[ShardPlan]) -> None:
    schema: pa.Schema | None = None
    writer: pq.ParquetWriter | None = None
    for plan in plans:
        table = read_shard(plan.file.path).drop_columns(list(OWN_COLUMNS)).replace_schema_metadata(None)
        rows = pa.array(np.arange(plan.first_row, plan.first_row + plan.file.items, dtype=np.int32))
        table = table.add_column(0, "row", rows)
        if writer is None:
            schema = table.schema
            writer = pq.ParquetWriter(path, schema)
        writer.write_table(table, row_group_size=ROW_GROUP_ITEMS)
    if writer is None:
        pq.write_table(pa.table({"row": pa.array([], pa.int32()), "item_id": pa.array([], pa.string())}), path)
    else:
        writer.close()


def measure_version(
    folder: Path, exact: ExactAnswer, described: VersionManifest, search: SearchSettings
) -> tuple[int, tuple[RecallInterval, ...], tuple[Canary, ...]]:
    """Chooses ef_search for the recall target and measures recall@1 and recall@10 at it.

    Each sampled item is searched as if it had never been indexed, so that the recall is that of new queries.

    Raises:
        RecallError: no ef_search up to 2,000 reaches the target.
    """
    items = described.items
    k = min(10, items - 1)
    if k < 1:
        return max(described.parameters["ef_construction"], 1), (), ()
    searcher = open_index(folder, described, search)
    measure = _measurement(searcher, exact, described.space)
    chosen = choose_ef(partial(measure, k), described.recall_target, k, MAX_EF, _advice(described))
    canaries = _canaries(searcher, exact, min(10, items), chosen.ef_search)
    at_one = interval_of(measure(1, chosen.ef_search), 1, chosen.ef_search)
    return chosen.ef_search, (at_one, chosen), canaries


def _canaries(searcher: Searcher, exact: ExactAnswer, k: int, ef_search: int) -> tuple[Canary, ...]:
    """Of the first sampled items, without the last of their rows where others may be as near: any of them is found."""
    queries = exact.vectors[:CANARIES]
    rows, distances = searcher.search(queries, k, ef_search)
    _, further = searcher.search(queries, k + 1, ef_search)
    made = []
    for row, answer, near, far in zip(exact.rows[:CANARIES], rows, distances, further[:, k], strict=True):
        kept = answer[(near < near[-1]) | (far != near[-1])]
        made.append(Canary(int(row), tuple(int(r) for r in kept)))
    return tuple(made)


def _advice(described: VersionManifest) -> str:
    if described.index is not None:
        return RAISE
    shards = len(described.shard_files)
    return RAISE_ROUTED.format(probe=min(described.parameters["probe"], shards), shards=shards)


def _measurement(searcher: Searcher, exact: ExactAnswer, space: str) -> Callable[..., Array]:
    """(k, ef_search, queries) -> [q] recall@k of the first so many sampled items, all where null."""
    distances = space_of(space).to_distances(exact.distances)

    def measure(k: int, ef: int, queries: int | None = None) -> Array:
        _, found = searcher.search(exact.vectors[:queries], k, ef, without=exact.rows[:queries])
        return tie_aware_recall(found, distances[:queries, :k])

    return measure


def make_manifest(
    folder: Path,
    part_sizes: Sequence[int],
    outcome: IndexOutcome,
    embeddings: EmbeddingsManifest,
    settings: IndexSettings,
    calibration: Calibration | None,
    search: SearchSettings = DEFAULT_SEARCH,
) -> VersionManifest:
    """Measures the assembled folder and describes it; `parent` is left null.

    Args:
        search: how a version of layout routed is searched when it is measured.
    """
    routed = settings.layout == "routed"
    described = VersionManifest(
        parent=None,
        catalog=embeddings.catalog_digest,
        model=embeddings.model,
        items=sum(p.file.items for p in outcome.plans),
        dimension=embeddings.dimension,
        space=settings.space,
        parameters=_parameters(settings, search),
        recall_target=settings.recall_target,
        ef_search=0,
        recall=(),
        shard_recall=tuple(outcome.shard_recall),
        canaries=(),
        churn=0.0,
        row_ranges=tuple(RowRange(p.number, p.first_row, p.first_row + p.file.items) for p in outcome.plans),
        calibration=calibration,
        metadata_columns=embeddings.metadata_columns,
        clips=embeddings.clips,
        cpu=instruction_set(),
        index=None if routed else index_file(folder / "index.hnsw", part_sizes),
        files=tuple(file_entry(folder, name) for name in (*FILES, *((LONGEST,) if routed else ()))),
        shard_files=_shard_files(folder, outcome.plans) if routed else (),
    )
    ef_search, recall, canaries = measure_version(folder, outcome.exact, described, search)
    return replace(described, ef_search=ef_search, recall=recall, canaries=canaries)


def _parameters(settings: IndexSettings, search: SearchSettings) -> dict[str, Any]:
    names = ("m", "ef_construction", "seed", "shard_items", "shards", "neighbor_shards", "builder", "layout")
    own = {name: getattr(settings, name) for name in names}
    return {**own, "probe": search.probe} if settings.layout == "routed" else own


def _shard_files(folder: Path, plans: Sequence[ShardPlan]) -> tuple[FileEntry, ...]:
    return tuple(file_entry(folder, shard_name(plan.number)) for plan in plans)


def instruction_set() -> str:
    """Machine and widest vector instructions, on which the last bits of floating point depend."""
    chosen = {
        entry["current"] for kinds in introspect.opt_func_info(func_name="add").values() for entry in kinds.values()
    }
    return f"{platform.machine()}:{max(chosen)}"


def publish_version(
    store: ObjectStore, folder: Path, manifest: VersionManifest, turn: Callable[[], str] | None = None
) -> str:
    """Publishes `folder` after the version that is LATEST now; a retry of what is LATEST already has succeeded.

    Args:
        store: to publish to.
        folder: of the version.
        manifest: of it; `parent` is set here.
        turn: says which version it must follow instead, or raises where it is no longer the caller's turn.
    """
    if turn is not None:
        return versions.publish(store, folder, replace(manifest, parent=turn()))
    current = versions.latest(store)
    if current is not None:
        again = replace(manifest, parent=_parent_of(store, current))
        if versions.version_id(again.text()) == current:
            return versions.publish(store, folder, again)
    return versions.publish(store, folder, replace(manifest, parent=current))


def _parent_of(store: ObjectStore, version: str) -> str | None:
    """Null also where the version was lost or damaged: the next one follows it all the same, and repairs the store."""
    try:
        return versions.load_manifest(store, version).parent
    except (NotFound, DamagedArtefact):
        return None


def measure_speed(
    folder: Path, exact: ExactAnswer, manifest: VersionManifest, search: SearchSettings = DEFAULT_SEARCH
) -> dict[str, float]:
    """Queries a second at the manifest's ef_search, one thread, the median of five passes."""
    if not len(exact.rows):
        return {}
    searcher = open_index(folder, manifest, search)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        searcher.search(exact.vectors, 10, manifest.ef_search)
        seconds.append(time.perf_counter() - began)
    return {"queries_per_second": round(len(exact.rows) / statistics.median(seconds), 1)}


def write_timings(folder: Path, timings: dict[str, Any]) -> None:
    """Writes timings.json, which no checksum covers."""
    (folder / "timings.json").write_text(json.dumps(timings, sort_keys=True, indent=2) + "\n")


def describe_published(store: ObjectStore, version: str) -> dict[str, Any]:
    """Small facts of a version in the store, for the summary and the state of the run."""
    manifest = versions.load_manifest(store, version)
    folder = str(store.local_path(f"versions/{version}") or f"{store.url}/versions/{version}")
    at_ten = [r for r in manifest.recall if r.k == max(x.k for x in manifest.recall)]
    return {
        "version": version,
        "folder": folder,
        "page": f"{folder}/{PAGE}" if manifest.has_page else None,
        "items": manifest.items,
        "recall_at_10": at_ten[0].recall if at_ten else None,
        "ef_search": manifest.ef_search,
        "bytes": manifest.index_bytes,
    }
