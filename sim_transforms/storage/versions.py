"""Published versions: folders that never change, and LATEST, which names one of them and moves last.

A version is whole when its manifest.json is there: it is written after every file that it describes, and is the first
that goes when a version is removed. `README.md` has the protocol.
"""

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, NotFound, PublishConflict
from sim_transforms.records.manifests import PAGE_FOLDER, FileEntry, VersionManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.leases import READERS, REMOVALS, Hold, fresh_holds
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.upload_parts import upload_parts

LATEST = "LATEST"
MANIFEST = "manifest.json"
INDEX = "index.hnsw"
TIMINGS = "timings.json"

# How long gc leaves the folder of a publisher alone that has died in its upload; it also stays away from young folders.
PUBLISH_SECONDS = 3600.0
# Uploads and swaps that others undo, or move LATEST back and forth around, are tried so often.
_TRIES = 3
_RENEW_EVERY = 100


@dataclass(frozen=True)
class VersionInfo:
    """A whole version in a store."""

    version: str
    created_seconds: float
    is_latest: bool


def version_id(manifest_text: str) -> str:
    """First 16 hex digits of the SHA-256 of manifest.json."""
    return hashlib.sha256(manifest_text.encode()).hexdigest()[:16]


def is_version_id(text: str) -> bool:
    """Whether it is 16 hex digits, as ids are."""
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)


def object_name(version: str, name: str) -> str:
    """Name of a version's file in the store."""
    return f"versions/{version}/{name}"


def file_entries(manifest: VersionManifest) -> list[FileEntry]:
    """All files that a manifest describes; index.hnsw without a SHA-256 of the whole."""
    if manifest.index is None:
        return [*manifest.shard_files, *manifest.files]
    index = FileEntry(INDEX, manifest.index.size_bytes, manifest.index.crc32c, "")
    return [index, *manifest.files]


def search_entries(manifest: VersionManifest) -> list[FileEntry]:
    """The same without the page, which nobody who searches reads."""
    return [entry for entry in file_entries(manifest) if not entry.name.startswith(PAGE_FOLDER)]


def page_entries(manifest: VersionManifest) -> list[FileEntry]:
    """Those of the page alone."""
    return [entry for entry in manifest.files if entry.name.startswith(PAGE_FOLDER)]


def publish(store: ObjectStore, folder: Path, manifest: VersionManifest) -> str:
    """Uploads the files, then the manifest, then moves LATEST from `manifest.parent` to the new version.

    May be repeated after a crash: objects are written again under the same names with the same content, also where
    others have followed the version meanwhile. A lease keeps gc away. Who loses takes away what he has put there.

    Raises:
        PublishConflict: LATEST names neither the parent nor this version, or gc is removing a version of this id.
        DamagedArtefact: a file is not what the manifest describes.
    """
    text = manifest.text()
    version = version_id(text)
    _check_turn(store, version, manifest.parent)
    was_there = store.info(object_name(version, MANIFEST)) is not None
    try:
        with Hold(store, READERS, version, PUBLISH_SECONDS) as own:
            if latest(store) != version and fresh_holds(store, REMOVALS, version):
                raise PublishConflict(f"{store.url}: not published: gc is removing version {version}; run again later")
            _upload_whole(store, folder, manifest, own)
            if not _is_published(store, version, manifest.parent):
                move_latest(store, version, manifest.parent)
            if missing_files(store, version, manifest):
                _upload_whole(store, folder, manifest, own)
    except PublishConflict:
        if _is_published(store, version, manifest.parent):
            return version
        if not was_there:
            remove_version(store, version)
        raise
    return version


def _check_turn(store: ObjectStore, version: str, parent: str | None) -> None:
    current = latest(store)
    if current != parent and not _is_published(store, version, parent):
        raise _conflict(store, parent, current)


def _is_published(store: ObjectStore, version: str, parent: str | None) -> bool:
    """Whether LATEST names the version or one that follows it: a twin of the same id may have moved it."""
    current = latest(store)
    while current not in (version, parent, None):
        try:
            current = load_manifest(store, current).parent
        except (NotFound, DamagedArtefact):
            return False
    return current == version


def _upload_whole(store: ObjectStore, folder: Path, manifest: VersionManifest, own: Hold) -> None:
    """The files, and when all of them are there, the manifest."""
    text = manifest.text()
    version = version_id(text)
    missing: list[str] = []
    for _ in range(_TRIES):
        # A twin that publishes the same id may take away the parts from which a remote store puts a file together.
        with contextlib.suppress(NotFound):
            _upload(store, folder, manifest, version)
        own.renew()
        _check_turn(store, version, manifest.parent)
        missing = missing_files(store, version, manifest)
        if not missing or missing == [MANIFEST]:
            store.write(object_name(version, MANIFEST), text.encode())
            return
    raise DamagedArtefact(
        f"{store.url}: version {version} lacks {', '.join(missing)} after {_TRIES} uploads: something removes its files"
    )


def missing_files(store: ObjectStore, version: str, manifest: VersionManifest) -> list[str]:
    """Names of the files of a version that are not there with their sizes, by one listing; its manifest among them."""
    start = object_name(version, "")
    sizes = {info.name.removeprefix(start): info.size_bytes for info in store.list(start)}
    missing = [] if MANIFEST in sizes else [MANIFEST]
    return missing + [entry.name for entry in file_entries(manifest) if sizes.get(entry.name) != entry.size_bytes]


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


def move_latest(store: ObjectStore, version: str, expected: str | None) -> None:
    """Moves LATEST from `expected` to `version`; done also where it names that already.

    Raises:
        PublishConflict: it names neither.
    """
    current = None
    for _ in range(_TRIES):
        # The generation first: it is older than the content that is read next, or belongs to it.
        info = store.info(LATEST)
        current = latest(store)
        if current == version:
            return
        if current != expected:
            break
        if store.compare_and_swap(LATEST, f"{version}\n".encode(), info.generation if info else None):
            return
    raise _conflict(store, expected, current)


def remove_version(store: ObjectStore, version: str) -> bool:
    """Removes a version, its manifest first, or what an interrupted upload has left of one; whether it did.

    It does not where LATEST or a fresh lease names the version. The removal is announced before either is looked at,
    and whoever takes a lease looks for the announcement afterwards: one of the two sees the other.
    """
    with Hold(store, REMOVALS, version) as own:
        # LATEST before the leases: a reader takes its lease before it reads LATEST.
        if latest(store) == version or fresh_holds(store, READERS, version):
            return False
        manifest = _taken(store, object_name(version, MANIFEST))
        if manifest is not None and latest(store) == version:
            # Only where somebody slept longer than his lease between his last look and his swap.
            store.write(object_name(version, MANIFEST), manifest)
            return False
        for number, info in enumerate(store.list(object_name(version, ""))):
            if number % _RENEW_EVERY == _RENEW_EVERY - 1:
                own.renew()
            with contextlib.suppress(NotFound):
                store.delete(info.name)
    return True


def _taken(store: ObjectStore, name: str) -> bytes | None:
    """Content of an object that is removed; null where there was none."""
    try:
        content = store.read(name)
        store.delete(name)
    except NotFound:
        return None
    return content


def _conflict(store: ObjectStore, expected: str | None, found: str | None) -> PublishConflict:
    return PublishConflict(
        f"{store.url}: not published: LATEST is {found}, but this version was made to follow {expected}; "
        "another job has published meanwhile and LATEST was not moved: run again to follow its version"
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
    if not is_version_id(version):
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
    """Whole versions, oldest first; raises DamagedArtefact where LATEST holds something else than an id."""
    return whole_versions(store, latest(store))


def whole_versions(store: ObjectStore, current: str | None) -> list[VersionInfo]:
    """The same where it is known already which is LATEST."""
    manifests = [i for i in store.list("versions/") if i.name.endswith(f"/{MANIFEST}")]
    found = [VersionInfo(i.name.split("/")[1], i.created_seconds, i.name.split("/")[1] == current) for i in manifests]
    return sorted(found, key=lambda v: (v.created_seconds, v.version))
