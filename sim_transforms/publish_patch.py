"""The patched parts -> the next version: items rewritten, index put together, measured, gated, described.

Runs on the driver, in memory that grows with the change and not with the catalog.
"""

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.diff_catalog import Difference
from sim_transforms.hnsw.levels import draw_levels
from sim_transforms.hnsw.open_index import CENTROIDS
from sim_transforms.hnsw.partition import shard_cap
from sim_transforms.hnsw.patch_whole import Change, shard_loads
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.measure_recall import ExactAnswer, recall_rank
from sim_transforms.merge_shards import part_paths
from sim_transforms.patch_version import PlannedPatch
from sim_transforms.publish_version import FILES, ROW_GROUP_ITEMS, join_parts, measure_version
from sim_transforms.records.arrays import load_array
from sim_transforms.records.batches import Array, QueryBlock, arrow_type, vectors_of
from sim_transforms.records.clips import SOURCE_ID, START
from sim_transforms.records.manifests import RowRange, VersionManifest
from sim_transforms.settings.stages import IndexSettings, SearchSettings
from sim_transforms.storage.checksums import file_entry, index_file

# Beside the metadata; the split belongs to evaluation, not to the index.
_TEXTS = {"digest": "string", "label": "string"}
# Times the cap of a shard that one may hold after patches, where many additions lie together.
_OVERFULL = 2


@dataclass(frozen=True)
class CatalogChange:
    """What is brought into a version.

    Attributes:
        deleted: [g] int32 rows of items that are gone, replaced or rejected now.
        updates: items of which all but the media has changed.
        fresh: item_id, label, split, digest, embedding and metadata of new and replaced items, by item_id.
        metadata_columns: of the catalog, and of clips their own: name -> Arrow type.
        digest: of the catalog as it is now.
    """

    deleted: Array
    updates: tuple[Difference, ...]
    fresh: pa.Table
    metadata_columns: dict[str, str]
    digest: str


def index_change(change: CatalogChange, settings: IndexSettings) -> Change:
    """The same as the index sees it."""
    vectors = space_of(settings.space).prepare(vectors_of(change.fresh.column("embedding")))
    ids = change.fresh.column("item_id").to_pylist()
    return Change(change.deleted, vectors, draw_levels(ids, settings.m, settings.seed))


def overfull_shard(
    change: CatalogChange, parts: tuple[Sequence[RowRange], Array, Array], items: int, settings: IndexSettings
) -> str | None:
    """Which shard would hold so many items that a worker could not, or null.

    Args:
        change: what is different.
        parts: of the version: row ranges, centroids [shards, d], free rows.
        items: that the version will hold.
        settings: of the index.
    """
    if not change.fresh.num_rows:
        return None
    loads, cap = shard_loads(index_change(change, settings), parts, settings), shard_cap(items, settings)
    if loads.max() <= _OVERFULL * cap:
        return None
    return f"shard {loads.argmax()} would hold {loads.max():,} items, and {cap:,} are planned for one"


def catalog_digest(parent: VersionManifest, differences: Sequence[Difference], fresh: pa.Table) -> str:
    """Digest of a catalog, from that of the version before it and what is different."""
    digest = hashlib.sha256(parent.catalog.encode())
    for difference in differences:
        known = difference.reference
        further = (known.label, known.metadata) if known is not None else None
        digest.update(repr((difference.kind, difference.item_id, further)).encode())
    for item_id, content in zip(fresh.column("item_id").to_pylist(), fresh.column("digest").to_pylist(), strict=True):
        digest.update(repr((item_id, content)).encode())
    return digest.hexdigest()


def items_schema(metadata_columns: dict[str, str]) -> pa.Schema:
    """Schema of items.parquet, as a build writes it."""
    further = [(name, arrow_type(kind)) for name, kind in sorted({**metadata_columns, **_TEXTS}.items())]
    return pa.schema([("row", pa.int32()), ("item_id", pa.string()), *further])


def write_patched_items(old: Path, target: Path, change: CatalogChange, rows: Array) -> None:
    """Writes items.parquet after a change, row group by row group.

    Args:
        old: of the version before.
        target: the new file.
        change: what is different.
        rows: [a] int32, rows of `change.fresh`.
    """
    schema = items_schema(change.metadata_columns)
    extra = _extra_items(change, rows, schema)
    updated = [place.row for update in change.updates for place in update.places]
    dropped = pa.array(np.concatenate([change.deleted, updated]).astype(np.int32))
    with pq.ParquetWriter(target, schema) as writer:
        pending = schema.empty_table()
        for piece in _merged(old, extra, dropped, schema):
            pending = pa.concat_tables([pending, piece])
            while pending.num_rows >= ROW_GROUP_ITEMS:
                writer.write_table(pending.slice(0, ROW_GROUP_ITEMS).combine_chunks())
                pending = pending.slice(ROW_GROUP_ITEMS)
        if pending.num_rows:
            writer.write_table(pending.combine_chunks())


def _extra_items(change: CatalogChange, rows: Array, schema: pa.Schema) -> pa.Table:
    """New, replaced and updated items, by row."""
    fresh = change.fresh.drop_columns(["embedding"]).add_column(0, "row", pa.array(rows, pa.int32()))
    updated = [record for difference in change.updates for record in _records(difference)]
    tables = [fresh.select(schema.names).cast(schema), pa.Table.from_pylist(updated, schema)]
    return pa.concat_tables(tables).sort_by("row")


def _records(difference: Difference) -> Iterator[dict[str, Any]]:
    """The rows of an item, or of all clips of a sound, as the catalog has them now."""
    known = difference.reference
    assert known is not None
    for place in difference.places:
        clip = {} if place.start is None else {SOURCE_ID: known.item_id, START: place.start}
        own = {"row": place.row, "item_id": place.item_id, "label": known.label, "digest": difference.digest}
        yield {**dict(known.metadata), **clip, **own}


def _merged(old: Path, extra: pa.Table, dropped: pa.Array, schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables in row order: each old row group without what is dropped, with the extra rows up to its last one."""
    file, taken = pq.ParquetFile(old), 0
    there = extra.column("row").to_numpy()
    for group in range(file.metadata.num_row_groups):
        table = file.read_row_group(group)
        last = int(table.column("row")[-1].as_py()) if table.num_rows else -1
        # Before they are cast: what is dropped may hold values that the columns of now cannot.
        kept = cast_items(table.filter(pc.invert(pc.is_in(table.column("row"), value_set=dropped))), schema)
        upto = int(np.searchsorted(there, last, side="right"))
        yield pa.concat_tables([kept, extra.slice(taken, upto - taken)]).sort_by("row")
        taken = upto
    yield extra.slice(taken)


def cast_items(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in another schema: columns that it lacks are null, those that are not there any more go."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def sample_live(items: Path, queries: int, seed: int) -> Array:
    """[q] int32 rows, ascending, of the items that a build would sample too: those of the lowest hashes."""
    file = pq.ParquetFile(items)
    batches = file.iter_batches(ROW_GROUP_ITEMS, columns=["row", "item_id"])
    ranked = (
        (recall_rank(item_id, seed), row)
        for batch in batches
        for row, item_id in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
    )
    return np.sort(np.array([row for _, row in heapq.nsmallest(queries, ranked)], np.int32))


def ask(planned: PlannedPatch, items: Path, settings: IndexSettings) -> QueryBlock:
    """The items whose exact neighbours the job seeks."""
    rows = sample_live(items, settings.recall_queries, settings.seed)
    published, final, additions = planned.plan.published(), planned.plan.array("final"), planned.plan.additions()
    places = {int(row): place for place, row in enumerate(final)}
    dimension = additions.vectors.shape[1]
    vectors = np.zeros((len(rows), dimension), np.float32)
    for number, row in enumerate(rows.tolist()):
        known = places.get(row)
        vectors[number] = published.records["vector"][row] if known is None else additions.vectors[known]
    return QueryBlock(rows, vectors)


def assemble_patch(folder: Path, before: Path, planned: PlannedPatch) -> list[int]:
    """Writes index.hnsw and the arrays beside it; items.parquet stands in `folder` already; gives the parts' bytes."""
    np.save(folder / CENTROIDS, load_array(before / CENTROIDS))
    np.save(folder / "free_rows.npy", planned.free)
    return join_parts(folder, part_paths(planned.plan.scratch, len(planned.plan.ranges)))


def describe_patch(
    folder: Path,
    parent: tuple[str, VersionManifest],
    change: CatalogChange,
    planned: PlannedPatch,
    sizes: Sequence[int],
    exact: ExactAnswer,
    search: SearchSettings,
) -> VersionManifest:
    """Measures the assembled folder and describes it.

    Raises:
        RecallError: the recall target is not reached.
    """
    version, before = parent
    added, removed = change.fresh.num_rows, len(change.deleted)
    items = before.items + added - removed
    described = replace(
        before,
        parent=version,
        catalog=change.digest,
        items=items,
        ef_search=0,
        recall=(),
        shard_recall=(),
        canaries=(),
        churn=round(before.churn + churn_of(change, before.items), 6),
        row_ranges=planned.plan.ranges,
        metadata_columns=change.metadata_columns,
        index=index_file(folder / "index.hnsw", sizes),
        files=tuple(file_entry(folder, name) for name in FILES),
    )
    ef_search, recall, canaries = measure_version(folder, exact, described, search)
    return replace(described, ef_search=ef_search, recall=recall, canaries=canaries)


def churn_of(change: CatalogChange, items: int) -> float:
    """Added, changed and removed items as a share of those there were; a changed one counts once."""
    added, removed = change.fresh.num_rows, len(change.deleted)
    return max(added, removed) / max(items, 1)
