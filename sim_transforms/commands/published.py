"""The published version that a job goes on from, its files checked before anything is built on them."""

from dataclasses import dataclass
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.lookup.open import version_folder
from sim_transforms.lookup.verify import file_problems
from sim_transforms.records.arrays import load_array
from sim_transforms.records.batches import Array
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage.cache import VersionCache
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import file_entries, latest, load_manifest, search_entries


@dataclass(frozen=True)
class Opened:
    """A published version whose files lie on this machine and are as its manifest says."""

    version: str
    manifest: VersionManifest
    folder: Path

    def array(self, name: str) -> Array:
        """One of its .npy files."""
        return load_array(self.folder / name)


def open_latest(store_url: str, cache: VersionCache | None = None, *, with_page: bool = False) -> Opened:
    """Opens LATEST.

    Args:
        store_url: of the store.
        cache: where the files of a remote store are brought; null for the user's own.
        with_page: whether the files of its page are needed too.

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
    folder = version_folder(store, version, cache, with_page=with_page)
    entries = file_entries(manifest) if with_page else search_entries(manifest)
    problems = [problem for entry in entries for problem in file_problems(folder, entry, manifest)]
    if problems:
        raise DamagedArtefact(
            f"version {version} of {store.url} is damaged and cannot be used: {'; '.join(problems)}; roll back with "
            "`ruiji versions rollback`, or publish a new version with `ruiji index`"
        )
    return Opened(version, manifest, folder)
