"""What the preprocessing job leaves, closed: duplicates and rejects judged, ledger checked, manifest written last."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.errors import CatalogError, LedgerError, TooManyRejects
from sim_transforms.failures import judge_rejects, write_rejects
from sim_transforms.features.canonical_graph import canonical_model
from sim_transforms.features.moments import moments_of
from sim_transforms.media.catalog_plan import CatalogPlan
from sim_transforms.media.catalog_rows import STAGE as CATALOG
from sim_transforms.media.decode import decoder_version
from sim_transforms.records.clips import clip_columns
from sim_transforms.records.codec import canonical_json, to_plain
from sim_transforms.records.items import MEDIA_SCHEMA, OFFSETS_SCHEMA, FailedItem
from sim_transforms.records.ledger import CLIPS, LedgerEntry, LedgerTotals, balance
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.records.media import MediaShape
from sim_transforms.records.statistics import DataStatistics, data_statistics
from sim_transforms.settings.stages import PreprocessSettings, Settings
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file
from sim_transforms.write_examples import FILES, OFFSETS, ShardReport

MEDIA_FILE, STATISTICS = "media.parquet", "statistics.json"
_SHOWN = 10


def example_shards(rows: int, settings: PreprocessSettings, kind: str) -> int:
    """Number of TFRecord files: some for parallel work on small catalogs, on large ones 5,000 to 10,000 pictures or 100
    to 200 sounds, which may be songs, in each.

    A power of two, so that a catalog grows without its items moving to other files, or moves each file's to two.
    """
    if settings.shards != "auto":
        return settings.shards
    few, many = (256, 10_000) if kind == "image" else (4, 200)
    wanted = max(1, min(4, rows // few), math.ceil(rows / many))
    return 1 << (wanted - 1).bit_length()


def close_examples(
    folder: Path,
    reports: Sequence[ShardReport],
    unreadable: Sequence[FailedItem],
    plan: CatalogPlan,
    settings: PreprocessSettings,
    rejects_copy: Path,
) -> LedgerTotals:
    """Writes offsets, facts of the files, rejects, ledger and statistics.

    Args:
        folder: of the examples.
        reports: of the shards, in shard order.
        unreadable: rows of the catalog that are no reference.
        plan: of the catalog.
        settings: of preprocessing.
        rejects_copy: where rejects.parquet is written where they are too many, so that they can be read.

    Raises:
        CatalogError: an item_id stands more than once.
        LedgerError: a row of the catalog is not accounted for.
        TooManyRejects: the share of rejects is above `max_reject_share`, or nothing is left.
    """
    failed = sorted([*unreadable, *(f for r in reports for f in r.failed)])
    _refuse_duplicates(reports, unreadable)
    entries = [LedgerEntry(CATALOG, "rows", len(unreadable), 0, len(unreadable)), *(r.entry for r in reports)]
    totals = balance("preprocess", entries, expected_in=plan.rows)
    clips = [r.clips for r in reports if r.clips is not None]
    balance(CLIPS, clips)
    if totals.rejected != len(failed):
        raise LedgerError(f"preprocess: {totals.rejected} items were rejected, but {len(failed)} have a reason")
    try:
        judge_rejects(totals, failed, settings.max_reject_share, rejects_copy)
    except TooManyRejects:
        write_rejects(rejects_copy, failed)
        raise
    write_rejects(folder / "rejects.parquet", failed)
    for ending, schema, name in ((OFFSETS, OFFSETS_SCHEMA, "offsets.parquet"), (FILES, MEDIA_SCHEMA, MEDIA_FILE)):
        _join([r.accounts + ending for r in reports], schema, folder / name)
    write_file(folder / "ledger.json", canonical_json([*entries, *clips]).encode())
    write_file(folder / STATISTICS, canonical_json(_statistics(reports, failed, totals)).encode())
    return totals


def settle_transform(folder: Path) -> None:
    """Gives the transform graph under `folder` the bytes that it has wherever and whenever it is made.

    Beside its bytes TensorFlow writes `fingerprint.pb`, which holds a random number, and which nobody reads: removed.
    """
    made = folder / "transform" / "transform_fn"
    path = made / "saved_model.pb"
    write_file(path, canonical_model(path.read_bytes(), lambda name: (made / "assets" / name).read_bytes()))
    (made / "fingerprint.pb").unlink(missing_ok=True)


def tell_moments(folder: Path, media: MediaShape) -> DataStatistics:
    """Adds what the analysis has found to statistics.json; gives what a model keeps of it."""
    mean, deviation = moments_of(folder / "transform", media)
    path = folder / STATISTICS
    known = json.loads(path.read_bytes())
    write_file(path, canonical_json({**known, "mean": mean, "deviation": deviation}).encode())
    return data_statistics(known["labels"], mean, deviation)


def write_manifest(
    folder: Path,
    reports: Sequence[ShardReport],
    totals: LedgerTotals,
    plan: CatalogPlan,
    media: MediaShape,
    settings: Settings,
) -> ExamplesManifest:
    """Writes manifest.json, which makes the folder whole."""
    names = ("ledger.json", MEDIA_FILE, "offsets.parquet", "rejects.parquet", STATISTICS)
    manifest = ExamplesManifest(
        items=sum(r.records for r in reports),
        shards=example_shards(plan.rows, settings.preprocess, media.kind),
        media=media,
        decoder=decoder_version(media.kind),
        catalog_digest=hashlib.sha256("".join(r.digest for r in reports).encode()).hexdigest(),
        labels=tuple(sorted({label for r in reports for label, _, _ in r.labels if label})),
        metadata_columns=all_columns(plan, media.kind),
        ledger=totals,
        settings=to_plain({"preprocess": settings.preprocess, "split_seed": settings.train.seed}),
        files=(*(r.file for r in reports), *(file_entry(folder, n) for n in names)),
        compression=settings.preprocess.compression,
    )
    write_file(folder / "manifest.json", canonical_json(manifest).encode())
    return manifest


def all_columns(plan: CatalogPlan, kind: str) -> dict[str, str]:
    """Metadata of the items: the catalog's, and what clips tell of themselves.

    Raises:
        CatalogError: a column of the catalog has a name that clips use.
    """
    own = clip_columns(kind)
    taken = sorted(own.keys() & plan.metadata_columns.keys())
    if taken:
        raise CatalogError(f"catalog {plan.path}: column {taken[0]!r} is a name that clips of sounds use; rename it")
    return dict(sorted({**plan.metadata_columns, **own}.items()))


def _refuse_duplicates(reports: Sequence[ShardReport], unreadable: Sequence[FailedItem]) -> None:
    twice = [entry for r in reports for entry in r.duplicates]
    rejected = pa.array([f.item_id for f in unreadable], pa.string())
    paths = [r.accounts + FILES for r in reports] if unreadable else []
    for ids in (pq.read_table(path, columns=["item_id"]).column("item_id") for path in paths):
        twice += [(item_id, ()) for item_id in ids.filter(pc.is_in(ids, rejected)).to_pylist()]
    if twice:
        shown = "; ".join(_rows_of(i, rows) for i, rows in sorted(twice)[:_SHOWN])
        more = f" and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise CatalogError(
            f"the catalog gives {len(twice)} item_id(s) more than once: {shown}{more}; ids must be unique"
        )


def _join(parts: Sequence[str], schema: pa.Schema, path: Path) -> None:
    """Writes the tables of the shards as row groups of one file; one of them is held at a time."""
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part, schema=schema))


def _rows_of(item_id: str, rows: tuple[int, ...]) -> str:
    where = f"in rows {', '.join(map(str, rows))}" if rows else "in a row that is used and one that is rejected"
    return f"{item_id!r} {where}"


def _statistics(reports: Sequence[ShardReport], failed: Sequence[FailedItem], totals: LedgerTotals) -> dict[str, Any]:
    labels: dict[str, Counter[str]] = {}
    for label, split, count in (entry for r in reports for entry in r.labels):
        labels.setdefault(label, Counter())[split] += count
    return {
        "files": totals.items_out,
        "items": sum(r.records for r in reports),
        "labels": {label: dict(sorted(counts.items())) for label, counts in sorted(labels.items())},
        "media_bytes": sum(r.media_bytes for r in reports),
        "record_bytes": sum(r.file.size_bytes for r in reports),
        "rejected": dict(sorted(Counter(f.reason for f in failed).items())),
    }
