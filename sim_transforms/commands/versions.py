"""`ruiji versions list|show|verify|rollback|gc`."""

from datetime import UTC, datetime
from typing import Any

from sim_transforms.commands.compared import counted, size
from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.lookup.verify import verify_version
from sim_transforms.records.codec import to_plain
from sim_transforms.settings.stages import VersionsSettings
from sim_transforms.storage.collect import Collected, collect
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.rollback import roll_back
from sim_transforms.storage.versions import is_version_id, latest, list_versions, load_manifest

Answer = tuple[dict[str, Any], str]


def list_all(store_url: str) -> Answer:
    """The whole versions, oldest first."""
    rows = []
    for found in list_versions(open_store(store_url)):
        created = datetime.fromtimestamp(found.created_seconds, UTC).isoformat(timespec="seconds")
        rows.append({"version": found.version, "created": created, "latest": found.is_latest})
    lines = [f"{r['version']}  {r['created']}{'  LATEST' if r['latest'] else ''}" for r in rows]
    return {"versions": rows}, "\n".join(lines) or "no versions"


def show(store_url: str, version: str | None) -> Answer:
    """The manifest of a version, LATEST where none is named; raises NotFound."""
    store = open_store(store_url)
    chosen = _chosen(store, version)
    manifest = load_manifest(store, chosen)
    return {"version": chosen, "manifest": to_plain(manifest)}, manifest.text()


def verify(store_url: str, version: str | None) -> Answer:
    """Whether a version is whole, LATEST where none is named.

    Raises:
        NotFound: nothing is published.
        DamagedArtefact: something is wrong; the message names all of it.
    """
    store = open_store(store_url)
    chosen = _chosen(store, version)
    problems = verify_version(store, chosen)
    if problems:
        raise DamagedArtefact(f"version {chosen} of {store.url}:\n  " + "\n  ".join(problems))
    return {"version": chosen, "problems": []}, f"version {chosen} is whole"


def rollback(store_url: str, version: str | None) -> Answer:
    """Moves LATEST to an older version, the one before it where none is named; raises what `roll_back` does."""
    store = open_store(store_url)
    moved = roll_back(store, version)
    text = f"LATEST is {moved.version} now; it was {moved.before}, which stays until gc removes it"
    if moved.version == moved.before:
        text = f"LATEST is {moved.version} already; nothing was moved"
    return {"version": moved.version, "before": moved.before}, text


def gc(store_url: str, settings: VersionsSettings, keep: int | None, min_age_hours: float | None, dry: bool) -> Answer:
    """Removes old versions and what killed processes have left.

    Args:
        store_url: of the published versions.
        settings: hold where a flag is not given.
        keep: versions that stay whatever their age.
        min_age_hours: nothing younger is removed.
        dry: only say what would be removed.

    Raises:
        UsageError: keep below 1, or a negative age.
    """
    kept = settings.keep if keep is None else keep
    hours = settings.min_age_hours if min_age_hours is None else min_age_hours
    if kept < 1:
        raise UsageError(f"--keep: found {kept}; at least 1 is expected")
    if not hours >= 0:
        raise UsageError(f"--min-age-hours: found {hours}; at least 0 is expected")
    found = collect(open_store(store_url), kept, hours * 3600, dry)
    return {**to_plain(found), "dry_run": dry}, _gc_text(found, dry)


def _gc_text(found: Collected, dry: bool) -> str:
    counts = [
        (len(found.versions), "version"),
        (len(found.uploads), "interrupted upload"),
        (len(found.unfinished), "temporary file"),
        (len(found.leases), "ended lease"),
    ]
    shown = ", ".join(counted(count, name) for count, name in counts if count) or "nothing"
    lines = [f"{'would remove' if dry else 'removed'} {shown} ({size(found.size_bytes)})"]
    verb = "would go" if dry else "removed"
    lines += [f"{version}  {verb}" for version in found.versions]
    lines += [f"{version}  {verb}, an interrupted upload" for version in found.uploads]
    lines += [f"{version}  stays: {reason}" for version, reason in found.kept.items()]
    return "\n".join(lines)


def _chosen(store: ObjectStore, version: str | None) -> str:
    """Raises NotFound where nothing is published, UsageError for what cannot be an id."""
    if version is not None and not is_version_id(version):
        raise UsageError(f"version: found {version!r}; an id of 16 hex digits is expected (`ruiji versions list`)")
    chosen = version or latest(store)
    if chosen is None:
        raise NotFound(f"{store.url}: nothing is published there (no LATEST)")
    return chosen
