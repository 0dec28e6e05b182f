"""What `ruiji versions gc` removes, and the removing: old versions, interrupted uploads, leases that have ended."""

import contextlib
from dataclasses import dataclass, replace

from sim_transforms.errors import NotFound
from sim_transforms.storage.leases import CLOCK, READERS, REMOVALS, fresh_holds, has_ended, store_seconds
from sim_transforms.storage.object_store import LeavesUnfinished, ObjectInfo, ObjectStore
from sim_transforms.storage.versions import MANIFEST, is_version_id, latest, remove_version

# Objects that a process which asked for the store's time and died has left behind.
_CLOCK_SECONDS = 3600.0


@dataclass(frozen=True)
class Folder:
    """What the store holds of one version.

    Attributes:
        version: its id.
        is_whole: its manifest is there.
        created_seconds: of the manifest; of the youngest file where there is none.
        size_bytes: of all files.
    """

    version: str
    is_whole: bool
    created_seconds: float
    size_bytes: int


@dataclass(frozen=True)
class Collected:
    """What gc removed, or would remove.

    Attributes:
        versions: whole versions, oldest first.
        uploads: version ids of interrupted uploads.
        unfinished: temporary files of killed writers.
        leases: leases that had ended.
        size_bytes: of all of them.
        kept: version id -> why it stays.
    """

    versions: tuple[str, ...]
    uploads: tuple[str, ...]
    unfinished: tuple[str, ...]
    leases: tuple[str, ...]
    size_bytes: int
    kept: dict[str, str]


@dataclass(frozen=True)
class _Plan:
    """Folders and objects to remove."""

    folders: tuple[Folder, ...]
    unfinished: tuple[ObjectInfo, ...]
    leases: tuple[ObjectInfo, ...]
    kept: dict[str, str]


def collect(store: ObjectStore, keep: int, min_age_seconds: float, dry_run: bool = False) -> Collected:
    """Removes versions that are neither among the last `keep`, nor young, nor LATEST, nor leased by a reader.

    May be killed at any moment and repeated, and run beside publishers, rollbacks, readers and itself (`README.md`).

    Args:
        store: to clean.
        keep: versions that stay whatever their age, the youngest ones; at least 1.
        min_age_seconds: nothing younger is removed, by the store's own times; an interrupted upload is as old as its
            youngest file.
        dry_run: say what would be removed; writes nothing but the object whose time is the store's.
    """
    plan = _plan(store, keep, min_age_seconds)
    if dry_run:
        return _collected(plan)
    gone, kept = [], dict(plan.kept)
    for folder in plan.folders:
        if remove_version(store, folder.version):
            gone.append(folder)
        else:
            kept[folder.version] = "LATEST or a reader came to name it meanwhile"
    for info in plan.leases:
        # A holder that slept may have renewed it since.
        if store.info(info.name) == info:
            with contextlib.suppress(NotFound):
                store.delete(info.name)
    if isinstance(store, LeavesUnfinished):
        for info in plan.unfinished:
            store.discard(info.name)
    return _collected(replace(plan, folders=tuple(gone), kept=kept))


def _collected(plan: _Plan) -> Collected:
    removed = [f.size_bytes for f in plan.folders] + [i.size_bytes for i in (*plan.unfinished, *plan.leases)]
    return Collected(
        versions=tuple(f.version for f in plan.folders if f.is_whole),
        uploads=tuple(f.version for f in plan.folders if not f.is_whole),
        unfinished=tuple(info.name for info in plan.unfinished),
        leases=tuple(info.name for info in plan.leases),
        size_bytes=sum(removed),
        kept=plan.kept,
    )


def _plan(store: ObjectStore, keep: int, min_age_seconds: float) -> _Plan:
    now = store_seconds(store)
    current, held = latest(store), fresh_holds(store, READERS)
    folders = version_folders(store)
    last = {f.version for f in [f for f in folders if f.is_whole][-keep:]}
    removed, kept = [], {}
    for folder in folders:
        reason = _reason(folder, current, held, last, now - min_age_seconds)
        if reason:
            kept[folder.version] = reason
        else:
            removed.append(folder)
    unfinished = store.unfinished() if isinstance(store, LeavesUnfinished) else ()
    old = tuple(info for info in unfinished if info.created_seconds <= now - min_age_seconds)
    return _Plan(tuple(removed), old, tuple(_ended_leases(store, now)), kept)


def _reason(folder: Folder, current: str | None, held: dict[str, int], last: set[str], before: float) -> str:
    """Why a version stays; "" where it goes."""
    named = why_named(folder.version, current, held)
    if named:
        return named
    if folder.version in last:
        return "one of the last"
    if folder.created_seconds > before:
        return "too young"
    return ""


def why_named(version: str, current: str | None, held: dict[str, int]) -> str:
    """Why nobody may remove a version, by LATEST and the fresh leases of readers; "" where he may."""
    if version == current:
        return "LATEST"
    return f"leased by {held[version]} readers or publishers" if version in held else ""


def version_folders(store: ObjectStore) -> list[Folder]:
    """What the store holds of versions, whole or not, oldest first."""
    groups: dict[str, list[ObjectInfo]] = {}
    for info in store.list("versions/"):
        version = info.name.split("/")[1]
        if is_version_id(version):
            groups.setdefault(version, []).append(info)
    folders = [_folder(version, found) for version, found in groups.items()]
    return sorted(folders, key=lambda f: (f.created_seconds, f.version))


def _folder(version: str, found: list[ObjectInfo]) -> Folder:
    manifests = [info.created_seconds for info in found if info.name.split("/")[2:] == [MANIFEST]]
    created = manifests or [max(info.created_seconds for info in found)]
    return Folder(version, bool(manifests), created[0], sum(info.size_bytes for info in found))


def _ended_leases(store: ObjectStore, now: float) -> list[ObjectInfo]:
    holds = [info for kind in (READERS, REMOVALS) for info in store.list(f"{kind}/")]
    clocks = [info for info in store.list(f"{CLOCK}/") if now - info.created_seconds > _CLOCK_SECONDS]
    return [info for info in holds if has_ended(store, info, now)] + clocks
