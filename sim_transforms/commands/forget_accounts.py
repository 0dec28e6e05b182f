"""The accounts of `examples/` without what was taken out of it: ledger, statistics, digest."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from sim_transforms.errors import DamagedArtefact
from sim_transforms.records.clips import sound_of
from sim_transforms.records.codec import from_plain
from sim_transforms.records.items import shard_of
from sim_transforms.records.ledger import CLIPS, LedgerEntry
from sim_transforms.records.manifests import ExamplesManifest


@dataclass(frozen=True)
class Removed:
    """What is taken out.

    Attributes:
        records: rows of offsets.parquet: of items, or of clips of sounds.
        files: rows of media.parquet: of the items' files, one each.
        refused: rows of rejects.parquet.
    """

    records: pa.Table
    files: pa.Table
    refused: pa.Table

    def item_ids(self) -> set[str]:
        """Of the records and of what was rejected."""
        return {i for table in (self.records, self.refused) for i in table.column("item_id").to_pylist()}

    def places(self, manifest: ExamplesManifest) -> dict[str, list[str]]:
        """Item -> files of `examples/` that held it."""
        clips = manifest.media.clips is not None
        held: dict[str, list[str]] = {}
        for row in self.records.to_pylist():
            named = sound_of(row["item_id"]) if clips else row["item_id"]
            held[named] = [manifest.example_file(row["shard"]), "media.parquet"]
        return held | {item_id: ["rejects.parquet"] for item_id in self.refused.column("item_id").to_pylist()}


def accounts_without(path: Path, manifest: ExamplesManifest, removed: Removed) -> list[LedgerEntry]:
    """The ledger without the items, whose shards took in one less each; of clips as many less as they had.

    How many clips of a sound were skipped as silent stands nowhere, so that these counts stay.
    """
    files = Counter(_own_file(item_id, manifest) for item_id in removed.files.column("item_id").to_pylist())
    clips = Counter(manifest.example_file(shard) for shard in removed.records.column("shard").to_pylist())
    rejected: Counter[str] = Counter()
    for row in removed.refused.to_pylist():
        rejected["rows" if row["stage"] == "catalog" else _own_file(row["item_id"], manifest)] += 1
    entries = [from_plain(LedgerEntry, entry, source=str(path)) for entry in _json(path)]
    return [
        _less(entry, clips[entry.shard], 0)
        if entry.stage == CLIPS
        else _less(entry, files[entry.shard], rejected[entry.shard])
        for entry in entries
    ]


def _own_file(item_id: str, manifest: ExamplesManifest) -> str:
    return manifest.example_file(shard_of(item_id, manifest.shards))


def _less(entry: LedgerEntry, out: int, rejected: int) -> LedgerEntry:
    return replace(
        entry,
        items_in=entry.items_in - out - rejected,
        items_out=entry.items_out - out,
        rejected=entry.rejected - rejected,
    )


def statistics_without(path: Path, manifest: ExamplesManifest, removed: Removed) -> dict[str, Any]:
    """What can be told of them from the records that go: labels, bytes of media, reasons of rejects."""
    known = _json(path)
    labels: dict[str, Counter[str]] = {label: Counter(counts) for label, counts in known["labels"].items()}
    for row in removed.records.to_pylist():
        labels[row["label"]][row["split"]] -= 1
    reasons = Counter(known["rejected"])
    reasons.subtract(removed.refused.column("reason").to_pylist())
    left = {label: {split: n for split, n in sorted(counts.items()) if n} for label, counts in sorted(labels.items())}
    return {
        **known,
        "labels": {label: counts for label, counts in left.items() if counts},
        "media_bytes": known["media_bytes"] - manifest.media.item_bytes * removed.records.num_rows,
        "rejected": {reason: n for reason, n in sorted(reasons.items()) if n},
    }


def digest_without(digest: str, item_ids: Iterable[str]) -> str:
    """Digest of what is left, from that of before and the items that went."""
    return hashlib.sha256(repr((digest, "without", sorted(set(item_ids)))).encode()).hexdigest()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedArtefact(f"{path} is no JSON: {error}") from error
