"""`ruiji versions diff`: which items came, went and changed, and whose neighbours changed most.

Of two versions of clips, sounds are what came, went and changed; clips are asked for the nearest other sounds.
"""

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sim_transforms.commands.compared import counted
from sim_transforms.commands.version_vectors import ids_of, vectors_of_places
from sim_transforms.errors import UsageError
from sim_transforms.lookup.clips import nearest_others
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.quality.sample import rank
from sim_transforms.records.clips import SOURCE_ID, sound_of
from sim_transforms.report.changes import QueryChange, VersionDiff
from sim_transforms.report.diff_page import shown_items, write_diff_page

__all__ = ["VersionDiff", "diff", "diff_text", "shown_items", "write_page"]

Array = np.ndarray[Any, Any]

NEIGHBORS = 10
SHOWN_QUERIES = 20
SHOWN_IDS = 5
_BLOCK = 8192


def diff(store_url: str, before: str, after: str | None, *, queries: int = 1000, seed: int = 0) -> VersionDiff:
    """Compares two versions of a store; `after` is LATEST where it is not given.

    Args:
        store_url: of the published versions.
        before, after: ids.
        queries: items in both whose nearest ten are compared, drawn by hash.
        seed: of the draw.

    Raises:
        NotFound, DamagedArtefact: as `open_version`.
        UsageError: queries below 0.
    """
    if queries < 0:
        raise UsageError(f"--queries: found {queries}; at least 0 is expected")
    return compare(open_version(store_url, before), open_version(store_url, after), queries=queries, seed=seed)


def compare(old: OpenVersion, new: OpenVersion, *, queries: int, seed: int = 0) -> VersionDiff:
    """The same of versions that are open."""
    places = _Places(old, new)
    are_clips = all(opened.manifest.clips is not None for opened in (old, new))
    items = _Sounds(old, new) if are_clips else places
    changes = _query_changes(old, new, places.sample(queries, seed))
    differing = sorted((c for c in changes if c.lost), key=lambda c: (-c.lost, c.item_id))
    shares = [c.kept / (c.kept + c.lost) for c in changes if c.kept + c.lost]
    return VersionDiff(
        before=old.version,
        after=new.version,
        items_before=items.before,
        items_after=items.after,
        added=items.added,
        removed=items.removed,
        changed=items.changed(),
        compared_by=items.compared_by,
        same_model=old.manifest.model == new.manifest.model,
        sampled=len(changes),
        differing=len(differing),
        mean_kept=float(np.mean(shares)) if shares else 1.0,
        most_changed=tuple(differing[:SHOWN_QUERIES]),
        clips=(old.manifest.items, new.manifest.items) if are_clips else None,
    )


class _Places:
    """Where the items of two versions stand in each.

    Attributes:
        before, after: items of the old and the new version.
        added, removed: ids in the new, the old version alone, sorted.
        compared_by: "digest" where both know digests, else "vectors", by which items without one are compared too.
    """

    def __init__(self, old: OpenVersion, new: OpenVersion) -> None:
        self._old, self._new = old, new
        self.before, self.after = old.manifest.items, new.manifest.items
        self._old_ids, self._new_ids = (ids_of(v) for v in (old, new))
        found = pc.index_in(self._new_ids, value_set=self._old_ids)
        is_added = np.asarray(pc.is_null(found))
        self._in_new = np.flatnonzero(~is_added)
        self._in_old = np.asarray(found.drop_null(), np.int64)
        is_removed = np.ones(len(self._old_ids), bool)
        is_removed[self._in_old] = False
        self.added = _sorted_ids(self._new_ids, np.flatnonzero(is_added))
        self.removed = _sorted_ids(self._old_ids, np.flatnonzero(is_removed))
        # Of vectors made elsewhere the column is null.
        self.compared_by = "digest" if all(_has_digests(v.items) for v in (old, new)) else "vectors"

    def changed(self) -> tuple[str, ...]:
        """Ids in both versions whose digests, or vectors byte by byte, differ."""
        if self.compared_by == "vectors":
            return _sorted_ids(self._new_ids, self._in_new[self._moved(np.arange(len(self._in_new)))])
        columns = (v.items.column("digest").combine_chunks() for v in (self._old, self._new))
        old, new = (c.take(pa.array(p)) for c, p in zip(columns, (self._in_old, self._in_new), strict=True))
        differ = ~np.asarray(pc.fill_null(pc.equal(old, new), False))
        unknown = np.flatnonzero(np.asarray(pc.and_(pc.is_null(old), pc.is_null(new))))
        differ[unknown] = self._moved(unknown)
        return _sorted_ids(self._new_ids, self._in_new[differ])

    def _moved(self, places: Array) -> Array:
        """[p] bool: whose vectors differ in a byte, of places in the list of items that both hold."""
        differ = [np.zeros(0, bool)]
        for start in range(0, len(places), _BLOCK):
            block = places[start : start + _BLOCK]
            old = vectors_of_places(self._old, self._in_old[block])
            differ.append(not_same(old, vectors_of_places(self._new, self._in_new[block])))
        return np.concatenate(differ)

    def sample(self, count: int, seed: int) -> list[str]:
        """The ids in both versions of the lowest hashes, in that order."""
        both = self._new_ids.take(pa.array(self._in_new)).to_pylist()
        return heapq.nsmallest(count, both, key=lambda item_id: (rank(item_id, seed), item_id))


class _Sounds:
    """The sounds of two versions of clips; all clips of a sound hold the digest of its file.

    Attributes:
        before, after: sounds of the old and the new version.
        added, removed: ids of sounds in the new, the old version alone, sorted.
        compared_by: "digest".
    """

    compared_by = "digest"

    def __init__(self, old: OpenVersion, new: OpenVersion) -> None:
        self._old, self._new = (_digests_of_sounds(opened.items) for opened in (old, new))
        self.before, self.after = len(self._old), len(self._new)
        self.added = tuple(sorted(self._new.keys() - self._old.keys()))
        self.removed = tuple(sorted(self._old.keys() - self._new.keys()))

    def changed(self) -> tuple[str, ...]:
        """Ids in both versions whose files differ, or were cut into other clips."""
        return tuple(sorted(sound for sound in self._old.keys() & self._new.keys() if self._differs(sound)))

    def _differs(self, sound: str) -> bool:
        return self._old[sound] != self._new[sound]


def _digests_of_sounds(items: pa.Table) -> dict[str, tuple[str, int]]:
    """Digest of the file, and number of clips, of each sound."""
    sounds = items.select([SOURCE_ID, "digest"]).group_by(SOURCE_ID).aggregate([("digest", "min"), ([], "count_all")])
    columns = (sounds.column(name).to_pylist() for name in (SOURCE_ID, "digest_min", "count_all"))
    return {sound: (digest, count) for sound, digest, count in zip(*columns, strict=True)}


def not_same(old: Array, new: Array) -> Array:
    """[n] bool: whose vectors, [n, d] float32 each, differ in a byte; all where the dimensions do."""
    if old.shape != new.shape:
        return np.ones(len(old), bool)
    return (old.view(np.uint32) != new.view(np.uint32)).any(axis=1)


def _has_digests(items: pa.Table) -> bool:
    return "digest" in items.column_names and items.column("digest").null_count < len(items)


def _sorted_ids(ids: pa.Array, places: Array) -> tuple[str, ...]:
    return tuple(sorted(ids.take(pa.array(places)).to_pylist()))


def _query_changes(old: OpenVersion, new: OpenVersion, item_ids: Sequence[str]) -> list[QueryChange]:
    found = zip(item_ids, _neighbors(old, item_ids), _neighbors(new, item_ids), strict=True)
    return [QueryChange(item_id, before, after) for item_id, before, after in found]


def _neighbors(opened: OpenVersion, item_ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Ids of the nearest items of each item in a version, itself left out; of clips of the nearest other sounds."""
    if not item_ids:
        return []
    places = np.asarray(pc.index_in(pa.array(item_ids, pa.large_string()), value_set=ids_of(opened)))
    found = nearest_others(opened, vectors_of_places(opened, places.astype(np.int64)), item_ids, NEIGHBORS)
    name = sound_of if opened.manifest.clips is not None else str
    return [tuple(name(match.item_id) for match in matches) for matches in found]


def write_page(found: VersionDiff, pictures: Mapping[str, bytes], output: Path) -> Path:
    """Writes the page, with the pictures that there are; gives the path of index.html."""
    return write_diff_page(found, pictures, output)


def diff_text(found: VersionDiff) -> str:
    """The lines that a person reads."""
    kinds = (("added", found.added), ("removed", found.removed), ("changed", found.changed))
    counts = ", ".join(f"{len(ids):,} {kind}" for kind, ids in kinds)
    lines = [
        f"version    {found.before} -> {found.after}{'' if found.same_model else ', made with another model'}",
        f"{'sounds' if found.clips else 'items':<10} {found.items_before:,} -> {found.items_after:,}: {counts} "
        f"(by {found.compared_by})",
        *([f"clips      {found.clips[0]:,} -> {found.clips[1]:,}"] if found.clips else []),
        *(f"{kind:<10} {_some(ids)}" for kind, ids in kinds if ids),
        f"neighbours {found.differing:,} of {counted(found.sampled, 'sampled query', 'sampled queries')} have other "
        f"nearest ten{' sounds' if found.clips else ''}; {100 * found.mean_kept:.1f} % of the neighbours stay",
    ]
    for query in found.most_changed:
        gone = [item_id for item_id in query.before if item_id not in query.after]
        came = [item_id for item_id in query.after if item_id not in query.before]
        lines.append(f"{query.item_id}: {query.kept} stay; gone {_some(gone)}; new {_some(came)}")
    return "\n".join(lines)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN_IDS:,} more" if len(ids) > SHOWN_IDS else ""
    return (", ".join(ids[:SHOWN_IDS]) or "none") + more
