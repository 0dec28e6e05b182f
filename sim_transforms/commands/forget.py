"""`ruiji forget`: takes items out of the store's older versions, and says what was removed from where.

The version without the items is published by `pipelines/forget.py`, because that is a Beam job; the working directory
is `forget_artefacts.py`. Removing a version follows the protocol of gc (`storage/README.md`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sim_transforms.commands.compared import counted
from sim_transforms.commands.forget_artefacts import Taken
from sim_transforms.commands.whereabouts import holds_clips, iso_time, rows_in_version
from sim_transforms.errors import DamagedArtefact, NotForgotten, NotFound, RuijiError, UsageError
from sim_transforms.records.clips import sound_of
from sim_transforms.records.codec import to_plain
from sim_transforms.storage.collect import Folder, version_folders, why_named
from sim_transforms.storage.leases import READERS, fresh_holds, store_seconds
from sim_transforms.storage.object_store import LeavesUnfinished, ObjectStore
from sim_transforms.storage.versions import latest, list_versions, remove_version

Outcome = Literal["deleted", "due", "remains"]

NOTE = (
    "the model was not retrained: what it has learned from the items stays in it until `ruiji run` trains it anew; the "
    "catalog, its media, exports in other folders and copies of versions in readers' caches were not touched"
)


@dataclass(frozen=True)
class OlderVersion:
    """What became of a version, or of what an interrupted upload has left of one, that held an item.

    Attributes:
        items: of those to be forgotten; none where it cannot be told.
        is_whole: whether it was a version.
        reason: why it is still there, "" where it is deleted.
        due: ISO 8601 in UTC, from when on it may go; "" where that is now.
    """

    version: str
    items: tuple[str, ...]
    is_whole: bool
    outcome: Outcome
    reason: str = ""
    due: str = ""


@dataclass(frozen=True)
class Published:
    """The version before and after.

    Attributes:
        how: patched, rebuilt, or unchanged where LATEST held none of the items.
        rows: item -> its row in `before`, or those of a sound's clips.
    """

    before: str | None
    version: str | None
    how: str
    rows: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Receipt:
    """What was removed from where.

    Attributes:
        published: the versions before and after.
        taken: from the working directory.
        older: the other versions that held an item.
        unknown: items that stood nowhere.
        in_catalog: items that the catalog still holds.
    """

    items: tuple[str, ...]
    published: Published
    taken: Taken
    older: tuple[OlderVersion, ...]
    unknown: tuple[str, ...]
    in_catalog: tuple[str, ...]


def check_within(hours: float) -> float:
    """Seconds of a grace period; raises UsageError for what is none."""
    if not 0 <= hours < float("inf"):
        raise UsageError(f"--within: found {hours}; hours, 0 or more, are expected")
    return hours * 3600


def check_whole_sounds(store: ObjectStore, ids: Collection[str], known: Collection[str]) -> None:
    """Refuses the ids of clips: a sound is forgotten whole.

    Args:
        store: of the versions.
        ids: to be forgotten.
        known: items of the catalog, which are no clips whatever their ids look like.

    Raises:
        UsageError: an id is that of a clip in some version.
    """
    alike = sorted(item_id for item_id in ids if sound_of(item_id) and item_id not in known)
    for info in list_versions(store) if alike else ():
        try:
            clips = holds_clips(store, info.version)
            found = rows_in_version(store, info.version, alike, clips) if clips else {}
        except (NotFound, DamagedArtefact):
            continue
        single = next((i for i, rows in sorted(found.items()) if [row.item_id for row in rows] == [i]), None)
        if single is not None:
            raise UsageError(
                f"{single!r} is a clip of the sound {sound_of(single)!r}, and a sound is forgotten whole: give "
                f"{sound_of(single)!r}. Nothing was removed"
            )


def check_catalog(source: str, rows: Mapping[str, int | None], is_kept: bool) -> None:
    """Refuses while the catalog holds items, unless that is wanted; raises UsageError."""
    if not rows or is_kept:
        return
    shown = ", ".join(f"{i!r}" if row is None else f"{i!r} in row {row}" for i, row in sorted(rows.items())[:10])
    raise UsageError(
        f"catalog {source} still holds {counted(len(rows), 'of the items', 'of the items')} ({shown}): the next `ruiji "
        "reindex` would bring them back. Nothing was removed: take them out of the catalog first, or give "
        "--keep-in-catalog"
    )


def forget_versions(store: ObjectStore, ids: Sequence[str], within_seconds: float) -> tuple[OlderVersion, ...]:
    """Removes the versions that hold an item and are older than a grace period; never what LATEST or a lease names.

    What interrupted uploads have left is removed too where it holds an item or nobody can tell, whatever its age.
    """
    current, held, now = latest(store), fresh_holds(store, READERS), store_seconds(store)
    found = []
    for folder in version_folders(store):
        items = _items_in(store, folder.version, ids)
        if items == ():
            continue
        named = why_named(folder.version, current, held)
        due = folder.created_seconds + within_seconds if folder.is_whole else 0.0
        found.append(_forgotten(store, folder, items, named, due if due > now else 0.0))
    return (*found, *_discarded(store, current, held))


def _items_in(store: ObjectStore, version: str, ids: Sequence[str]) -> tuple[str, ...] | None:
    """The items that a version holds; null where it cannot be told."""
    try:
        return tuple(sorted(rows_in_version(store, version, ids, holds_clips(store, version))))
    except (NotFound, DamagedArtefact):
        return None


def _forgotten(
    store: ObjectStore, folder: Folder, items: tuple[str, ...] | None, named: str, due: float
) -> OlderVersion:
    kept = OlderVersion(folder.version, items or (), folder.is_whole, "remains", named)
    if named:
        return kept
    if items is None and folder.is_whole:
        return _with_reason(
            kept, "its items.parquet cannot be read, so that nobody can tell what it holds; `ruiji versions gc`"
        )
    if due:
        return OlderVersion(folder.version, items or (), folder.is_whole, "due", "--within", iso_time(due))
    if remove_version(store, folder.version):
        return OlderVersion(folder.version, items or (), folder.is_whole, "deleted")
    return _with_reason(kept, "LATEST or a reader came to name it meanwhile")


def _with_reason(version: OlderVersion, reason: str) -> OlderVersion:
    return OlderVersion(version.version, version.items, version.is_whole, "remains", reason)


def _discarded(store: ObjectStore, current: str | None, held: Mapping[str, int]) -> Iterable[OlderVersion]:
    """Temporary files of uploads that were killed go too; those of LATEST hold what it holds."""
    if not isinstance(store, LeavesUnfinished):
        return
    for info in store.unfinished():
        parts = info.name.split("/")
        if parts[0] != "versions" or len(parts) < 3 or parts[1] == current:
            continue
        if parts[1] in held:
            reason = f"a temporary file of an upload that is at work, or was killed within the hour: {info.name}"
            yield OlderVersion(parts[1], (), False, "remains", reason)
        else:
            store.discard(info.name)


def unknown_items(
    ids: Sequence[str], published: Published, taken: Taken, older: Iterable[OlderVersion]
) -> tuple[str, ...]:
    """The items of which nothing was found."""
    held = {item_id for version in older for item_id in version.items}
    return tuple(i for i in ids if i not in published.rows and i not in taken.places and i not in held)


def judge_receipt(receipt: Receipt) -> RuijiError | None:
    """Why the command ends with 1, or null."""
    remaining = [v for v in receipt.older if v.outcome == "remains"]
    if remaining:
        shown = "; ".join(f"{v.version}: {v.reason}" for v in remaining)
        return NotForgotten(
            f"{counted(len(remaining), 'version')} could not be removed ({shown}): run this again later"
        )
    if receipt.unknown and not _removed(receipt):
        shown = ", ".join(repr(i) for i in receipt.unknown)
        return NotFound(f"nothing was removed: {shown} stands nowhere (`ruiji why` shows ids that are spelt alike)")
    return None


def _removed(receipt: Receipt) -> bool:
    return len(receipt.unknown) < len(receipt.items)


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """The object that --json prints."""
    published = receipt.published
    return {
        "before": published.before,
        "version": published.version,
        "how": published.how,
        "items": {i: _item_json(i, receipt) for i in receipt.items if i not in receipt.unknown},
        "unknown": list(receipt.unknown),
        "versions": [to_plain(v) for v in receipt.older],
        "pages_removed": list(receipt.taken.pages),
        "in_catalog": list(receipt.in_catalog),
        "model_retrained": False,
        "note": NOTE,
    }


def _item_json(item_id: str, receipt: Receipt) -> dict[str, Any]:
    rows = receipt.published.rows.get(item_id)
    return {
        "index": None if rows is None else {"version": receipt.published.before, "row": rows[0], "rows": list(rows)},
        "files": list(receipt.taken.places.get(item_id, ())),
        **{
            o: [v.version for v in receipt.older if v.outcome == o and item_id in v.items]
            for o in ("deleted", "due", "remains")
        },
    }


def receipt_text(receipt: Receipt) -> str:
    """The lines that a person reads."""
    published = receipt.published
    lines = [f"version    {published.version or 'none'}, was {published.before or 'none'} ({published.how})"]
    lines += [f"forgotten  {i}: {_from(i, receipt)}" for i in receipt.items if i not in receipt.unknown]
    lines += [f"unknown    {i}: stands nowhere" for i in receipt.unknown]
    lines += [_version_line(v) for v in receipt.older]
    lines += [
        f"removed    {name}/, whose pages showed an item; `ruiji run` writes it anew" for name in receipt.taken.pages
    ]
    if receipt.in_catalog:
        lines.append(
            f"careful    the catalog still holds {', '.join(receipt.in_catalog)}: `ruiji reindex` brings them back"
        )
    return "\n".join([*lines, f"note       {NOTE}"])


def _from(item_id: str, receipt: Receipt) -> str:
    found = _item_json(item_id, receipt)
    index = found["index"]
    places = [f"{_rows(index['rows'])} of {index['version']}"] if index else []
    places += found["files"]
    places += [counted(len(found["deleted"]), "older version")] if found["deleted"] else []
    return f"removed from {', '.join(places)}" if places else "removed from nowhere yet"


def _rows(rows: Sequence[int]) -> str:
    return f"row {rows[0]}" if len(rows) == 1 else f"{len(rows):,} rows of clips"


def _version_line(version: OlderVersion) -> str:
    what = "" if version.is_whole else ", an interrupted upload"
    if version.outcome == "deleted":
        return f"deleted    {version.version}{what}"
    if version.outcome == "due":
        later = f"from {version.due} on: run this again then; until then LATEST can be rolled back to it"
        return f"due        {version.version} {later}"
    return f"remains    {version.version}{what}: {version.reason}"
