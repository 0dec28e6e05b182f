"""Published versions: folders that never change, and LATEST, which names one of them and moves last.

A version is whole when its manifest.json is there: it is written after every file that it describes.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, NotFound, PublishConflict
from sim_transforms.records.manifests import FileEntry, VersionManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.upload_parts import upload_parts

LATEST = "LATEST"
MANIFEST = "manifest.json"
INDEX = "index.hnsw"
TIMINGS = "timings.json"


@dataclass(frozen=True)
class VersionInfo:
    """A whole version in a store."""

    version: str
    created_seconds: float
    is_latest: bool


def version_id(manifest_text: str) -> str:
    """First 16 hex digits of the SHA-256 of manifest.json."""
    return hashlib.sha256(manifest_text.encode()).hexdigest()[:16]


def object_name(version: str, name: str) -> str:
    """Name of a version's file in the store."""
    return f"versions/{version}/{name}"


def file_entries(manifest: VersionManifest) -> list[FileEntry]:
    """All files that a manifest describes; index.hnsw without a SHA-256 of the whole."""
    if manifest.index is None:
        return [*manifest.shard_files, *manifest.files]
    index = FileEntry(INDEX, manifest.index.size_bytes, manifest.index.crc32c, "")
    return [index, *manifest.files]


def publish(store: ObjectStore, folder: Path, manifest: VersionManifest) -> str:
    """Uploads the files, then the manifest, then moves LATEST from `manifest.parent` to the new version.

    May be repeated after a crash: objects are written again under the same names with the same content.

    Raises:
        PublishConflict: LATEST names neither the parent nor this version.
        DamagedArtefact: a file is not what the manifest describes.
    """
    text = manifest.text()
    version = version_id(text)
    current = latest(store)
    if current not in (manifest.parent, version):
        raise _conflict(store, manifest.parent, current)
    _upload(store, folder, manifest, version)
    store.write(object_name(version, MANIFEST), text.encode())
    if current != version:
        _move_latest(store, version, manifest.parent)
    return version


def _upload(store: ObjectStore, folder: Path, manifest: VersionManifest, version: str) -> None:
    for entry in file_entries(manifest):
        found = file_entry(folder, entry.name)
        if (found.size_bytes, found.crc32c) != (entry.size_bytes, entry.crc32c):
            raise DamagedArtefact(f"{folder / entry.name} is not what the manifest describes; nothing was published")
        target = object_name(version, entry.name)
        if manifest.index is not None and entry.name == INDEX and store.local_path(target) is None:
            upload_parts(store, folder / INDEX, manifest.index.parts, target, manifest.index.crc32c)
        else:
            store.upload(folder / entry.name, target)
    if (folder / TIMINGS).is_file():
        store.upload(folder / TIMINGS, object_name(version, TIMINGS))


def _move_latest(store: ObjectStore, version: str, parent: str | None) -> None:
    info = store.info(LATEST)
    generation = info.generation if info else None
    if latest(store) == parent and store.compare_and_swap(LATEST, f"{version}\n".encode(), generation):
        return
    if (now := latest(store)) != version:
        raise _conflict(store, parent, now)


def _conflict(store: ObjectStore, expected: str | None, found: str | None) -> PublishConflict:
    return PublishConflict(
        f"{store.url}: LATEST is {found}, but this version was made to follow {expected}; "
        "another job has published meanwhile: LATEST was not moved, run again to follow its version"
    )


def latest(store: ObjectStore) -> str | None:
    """Id of the published version, or null in a store without one.

    Raises:
        DamagedArtefact: LATEST holds something else than an id.
    """
    try:
        text = store.read(LATEST).decode(errors="replace")
    except NotFound:
        return None
    version = text.removesuffix("\n")
    if len(version) != 16 or any(c not in "0123456789abcdef" for c in version):
        raise DamagedArtefact(f"{store.url}: LATEST holds {text[:40]!r}; 16 hex digits are expected")
    return version


def load_manifest(store: ObjectStore, version: str) -> VersionManifest:
    """Reads a version's manifest.

    Raises:
        NotFound: there is no such version.
        DamagedArtefact: the manifest's content does not give the version's id.
    """
    name = object_name(version, MANIFEST)
    text = store.read(name).decode(errors="replace")
    if version_id(text) != version:
        raise DamagedArtefact(f"{store.url}: {name} was changed: its content has the id {version_id(text)}")
    return VersionManifest.parse(text, f"{store.url}/{name}")


def list_versions(store: ObjectStore) -> list[VersionInfo]:
    """Whole versions, oldest first."""
    current = latest(store)
    manifests = [i for i in store.list("versions/") if i.name.endswith(f"/{MANIFEST}")]
    found = [VersionInfo(i.name.split("/")[1], i.created_seconds, i.name.split("/")[1] == current) for i in manifests]
    return sorted(found, key=lambda v: (v.created_seconds, v.version))
