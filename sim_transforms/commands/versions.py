"""`ruiji versions list|show|verify`."""

from datetime import UTC, datetime
from typing import Any

from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.lookup.verify import verify_version
from sim_transforms.records.codec import to_plain
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import latest, list_versions, load_manifest


def versions(action: str, store_url: str, version: str | None) -> tuple[dict[str, Any], str]:
    """The answer of an action as a plain object and as text.

    Raises:
        NotFound: no such version, or nothing is published.
        DamagedArtefact: `verify` found something wrong; the message names all of it.
    """
    store = open_store(store_url)
    if action == "list":
        return _list(store)
    chosen = version or latest(store)
    if chosen is None:
        raise NotFound(f"{store.url}: nothing is published there (no LATEST)")
    if action == "show":
        manifest = load_manifest(store, chosen)
        return {"version": chosen, "manifest": to_plain(manifest)}, manifest.text()
    problems = verify_version(store, chosen)
    if problems:
        raise DamagedArtefact(f"version {chosen} of {store.url}:\n  " + "\n  ".join(problems))
    return {"version": chosen, "problems": []}, f"version {chosen} is whole"


def _list(store: ObjectStore) -> tuple[dict[str, Any], str]:
    rows = []
    for found in list_versions(store):
        created = datetime.fromtimestamp(found.created_seconds, UTC).isoformat(timespec="seconds")
        rows.append({"version": found.version, "created": created, "latest": found.is_latest})
    lines = [f"{r['version']}  {r['created']}{'  LATEST' if r['latest'] else ''}" for r in rows]
    return {"versions": rows}, "\n".join(lines) or "no versions"
