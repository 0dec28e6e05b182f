"""Checks a published version in full: checksums, structure of the index, canary queries."""

import tempfile
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, NotFound, RuijiError, StoreError, UsageError
from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.open_index import published_probe, routed_shards
from sim_transforms.lookup.open import OpenVersion, version_folder
from sim_transforms.records.manifests import Canary, FileEntry, IndexFile, VersionManifest
from sim_transforms.settings.stages import SearchSettings
from sim_transforms.storage.checksums import file_entry, index_file
from sim_transforms.storage.object_store import ObjectStore, name_parts
from sim_transforms.storage.versions import INDEX, file_entries, load_manifest, object_name

_MIB = 2**20


def verify_version(store: ObjectStore, version: str) -> list[str]:
    """What is wrong with a version, one line each; empty where nothing is.

    A remote store's files are fetched anew for it, into a temporary folder: what the cache holds proves nothing.

    Raises:
        StoreError: a remote store cannot be used.
    """
    try:
        manifest = load_manifest(store, version)
    except StoreError:
        raise
    except RuijiError as error:
        return [str(error)]
    if store.local_path(object_name(version, INDEX)) is not None:
        return _problems(version_folder(store, version), manifest)
    with tempfile.TemporaryDirectory(prefix="ruiji-verify-") as folder:
        here = Path(folder)
        problems = [p for entry in file_entries(manifest) for p in _fetched_problems(store, version, entry, here)]
        return problems or _content_problems(here, manifest)


def _fetched_problems(store: ObjectStore, version: str, entry: FileEntry, folder: Path) -> list[str]:
    """Brings a file into the folder; what is wrong with it."""
    try:
        target = folder.joinpath(*name_parts(entry.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        store.download(object_name(version, entry.name), target)
    except NotFound:
        return [f"{entry.name} is missing"]
    except (DamagedArtefact, UsageError) as error:
        return [f"{entry.name} cannot be fetched: {error}"]
    return file_problems(folder, entry)


def _problems(folder: Path, manifest: VersionManifest) -> list[str]:
    problems = [p for entry in file_entries(manifest) for p in file_problems(folder, entry)]
    return problems or _content_problems(folder, manifest)


def _content_problems(folder: Path, manifest: VersionManifest) -> list[str]:
    """What is wrong within files that have their checksums.

    NMSLIB ends the process on damaged files, so the index is opened only when its bytes are as published.
    """
    problems = _part_problems(folder, manifest.index) if manifest.index is not None else []
    return problems or _index_problems(folder, manifest) or _canary_problems(folder, manifest)


def file_problems(folder: Path, entry: FileEntry) -> list[str]:
    """What is wrong with one file of a version; empty where nothing is."""
    path = folder / entry.name
    if not path.is_file():
        return [f"{entry.name} is missing"]
    found = file_entry(folder, entry.name)
    if found.size_bytes != entry.size_bytes:
        return [f"{entry.name} holds {found.size_bytes} bytes, the manifest says {entry.size_bytes}"]
    if found.crc32c != entry.crc32c or entry.sha256 not in ("", found.sha256):
        return [f"{entry.name} differs from its checksum"]
    return []


def _part_problems(folder: Path, index: IndexFile) -> list[str]:
    found = index_file(folder / INDEX, [part.size_bytes for part in index.parts])
    return [
        f"{INDEX} differs from its checksum in the part of {expected.size_bytes} bytes at {expected.offset}"
        for expected, part in zip(index.parts, found.parts, strict=True)
        if expected != part
    ]


def _index_problems(folder: Path, manifest: VersionManifest) -> list[str]:
    """Every record and link of index.hnsw, or of each shard file, one after the other."""
    rows = manifest.row_ranges[-1].end_row if manifest.row_ranges else 0
    try:
        files = (
            [(folder / INDEX, rows)]
            if manifest.index is not None
            else [(shard.path, shard.items) for shard in routed_shards(folder, manifest)]
        )
    except RuijiError as error:
        return [str(error)]
    return [problem for path, items in files for problem in _graph_problems(path, items)]


def _graph_problems(path: Path, items: int) -> list[str]:
    try:
        found = read_index(path).header.items
    except RuijiError as error:
        return [str(error)]
    return [] if found == items else [f"{path} holds {found} items, the manifest's row ranges {items}"]


def _canary_problems(folder: Path, manifest: VersionManifest) -> list[str]:
    """Replays the canaries; the shards of a routed version are opened within the room that the largest needs."""
    largest = max((entry.size_bytes for entry in manifest.shard_files), default=1)
    try:
        limits = SearchSettings(probe=published_probe(manifest), memory_budget_mib=-(-largest // _MIB))
        opened = OpenVersion("", manifest, folder, limits)
        return [problem for canary in manifest.canaries for problem in _replay(opened, canary)]
    except RuijiError as error:
        return [str(error)]


def _replay(opened: OpenVersion, canary: Canary) -> list[str]:
    ranges = opened.manifest.row_ranges
    if not ranges or canary.row >= ranges[-1].end_row:
        return [f"the canary query of row {canary.row} stands after the last row"]
    rows, _ = opened.search_rows(opened.vector_at(canary.row)[None], len(canary.expected_rows))
    if tuple(int(r) for r in rows[0]) != canary.expected_rows:
        return [f"the canary query of row {canary.row} answers {rows[0].tolist()}, not what was published"]
    return []
