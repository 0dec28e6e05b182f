"""The published version that a job goes on from, its files checked before anything is built on them."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.lookup.open import version_folder
from sim_transforms.lookup.verify import file_problems
from sim_transforms.records.arrays import load_array
from sim_transforms.records.batches import Array
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage.cache import VersionCache
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import latest, load_manifest, page_entries, search_entries


@dataclass(frozen=True)
class Opened:
    """A published version whose files lie on this machine and are as its manifest says.

    Attributes:
        has_page: whether this is so of its page too, where it was asked for.
    """

    version: str
    manifest: VersionManifest
    folder: Path
    has_page: bool = False

    def array(self, name: str) -> Array:
        """One of its .npy files."""
        return load_array(self.folder / name)


def open_latest(store_url: str, cache: VersionCache | None = None, *, with_page: bool = False) -> Opened:
    """Opens LATEST.

    Args:
        store_url: of the store.
        cache: where the files of a remote store are brought; null for the user's own.
        with_page: whether the files of its page are brought too, where they are whole; the index goes on without.

    Raises:
        NotFound: nothing is published.
        DamagedArtefact: a file is not what was published; names all that are not.
    """
    return open_version_folder(store_url, None, cache, with_page=with_page)


def open_version_folder(
    store_url: str, wanted: str | None, cache: VersionCache | None = None, *, with_page: bool = False
) -> Opened:
    """The same of a version that is named; LATEST where none is."""
    store = open_store(store_url)
    version = wanted or latest(store)
    if version is None:
        raise NotFound(f"{store.url}: nothing is published there; run `ruiji run` or `ruiji index` first")
    manifest = load_manifest(store, version)
    folder, has_page = _brought(store, version, cache, manifest, with_page)
    problems = [problem for entry in search_entries(manifest) for problem in file_problems(folder, entry, manifest)]
    if problems:
        raise DamagedArtefact(
            f"version {version} of {store.url} is damaged and cannot be used: {'; '.join(problems)}; roll back with "
            "`ruiji versions rollback`, or publish a new version with `ruiji index`"
        )
    return Opened(version, manifest, folder, has_page)


def _brought(
    store: ObjectStore, version: str, cache: VersionCache | None, manifest: VersionManifest, with_page: bool
) -> tuple[Path, bool]:
    """Where the files lie, and whether those of the page are there, whole: it is made anew, and stops nobody."""
    if with_page and manifest.has_page:
        with suppress(NotFound, DamagedArtefact):
            folder = version_folder(store, version, cache, with_page=True)
            if not any(file_problems(folder, entry, manifest) for entry in page_entries(manifest)):
                return folder, True
    return version_folder(store, version, cache), False
