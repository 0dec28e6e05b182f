"""Checks a published version in full and names all that is wrong: files, structure of the index, canary queries."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import DamagedArtefact, NotFound, RuijiError, StoreError, UsageError
from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.open_index import published_probe, routed_shards
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.records.manifests import Canary, FileEntry, IndexFile, VersionManifest
from sim_transforms.settings.stages import SearchSettings
from sim_transforms.storage.checksums import file_entry, index_file
from sim_transforms.storage.object_store import ObjectStore, name_parts
from sim_transforms.storage.versions import INDEX, MANIFEST, TIMINGS, file_entries, object_name, version_id

Array = np.ndarray[Any, Any]

_MIB = 2**20
_MOST_MANIFEST = 64 * _MIB


def verify_version(store: ObjectStore, version: str) -> list[str]:
    """What is wrong with a version, one line each, every damaged file by name; empty where nothing is.

    Reads every byte once, in place or, of a remote store, from copies in a temporary folder.

    Raises:
        StoreError: a remote store cannot be used.
    """
    try:
        text = store.read(object_name(version, MANIFEST)).decode(errors="replace")
    except NotFound:
        return [f"{MANIFEST} is missing: {store.url} holds no such version, or what is left of one"]
    problems = _manifest_problems(store, version, text)
    if problems:
        text = _stray_manifest(store, version) or text
    try:
        manifest = VersionManifest.parse(text, MANIFEST)
        problems += _surplus_problems(store, version, manifest)
        with _local_folder(store, version, manifest) as (folder, unread):
            # A manifest that was changed is not believed any further than to say which files are not its own.
            return problems + _folder_problems(folder, manifest, unread, version_id(text) == version)
    except StoreError:
        raise
    except RuijiError as error:
        return [*problems, str(error)]


def _manifest_problems(store: ObjectStore, version: str, text: str) -> list[str]:
    found = version_id(text)
    if found == version:
        return []
    other = store.info(object_name(found, MANIFEST)) is not None
    whose = "another version of this store" if other else "no version of this store"
    return [f"{MANIFEST} was changed: its content has the id {found}, {whose}"]


def _stray_manifest(store: ObjectStore, version: str) -> str | None:
    """The version's manifest where it stands in another of its files, because two were swapped."""
    for info in store.list(object_name(version, "")):
        if info.size_bytes <= _MOST_MANIFEST:
            text = store.read(info.name).decode(errors="replace")
            if version_id(text) == version:
                return text
    return None


def _surplus_problems(store: ObjectStore, version: str, manifest: VersionManifest) -> list[str]:
    start = object_name(version, "")
    known = {MANIFEST, TIMINGS, *(entry.name for entry in file_entries(manifest))}
    names = [info.name.removeprefix(start) for info in store.list(start)]
    return [f"{name} is no file of this version" for name in names if name not in known]


@contextmanager
def _local_folder(store: ObjectStore, version: str, manifest: VersionManifest) -> Iterator[tuple[Path, dict[str, str]]]:
    """The version's files as they are in the store now, which a cache would not tell, and why some cannot be read."""
    path = store.local_path(object_name(version, MANIFEST))
    if path is not None:
        yield path.parent, {}
        return
    with tempfile.TemporaryDirectory(prefix="ruiji-verify-") as copies:
        names = [entry.name for entry in file_entries(manifest)]
        found = {name: _fetched_problem(store, version, name, Path(copies)) for name in names}
        yield Path(copies), {name: problem for name, problem in found.items() if problem}


def _fetched_problem(store: ObjectStore, version: str, name: str, folder: Path) -> str:
    """Brings a file into the folder; leaves it out where it is missing. "" where nothing else is wrong."""
    if _leaves(name):
        return ""
    try:
        target = folder.joinpath(*name_parts(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        store.download(object_name(version, name), target)
    except NotFound:
        return ""
    except (DamagedArtefact, UsageError) as error:
        return f"{name} cannot be fetched: {error}"
    return ""


def _folder_problems(folder: Path, manifest: VersionManifest, unread: dict[str, str], is_trusted: bool) -> list[str]:
    entries = file_entries(manifest)
    checked = {
        entry.name: [unread[entry.name]] if entry.name in unread else file_problems(folder, entry, manifest)
        for entry in entries
    }
    problems = [problem for found in checked.values() for problem in found]
    if not is_trusted:
        return problems
    # NMSLIB ends the process on damaged files, so an index is opened only where its bytes are as published.
    sound = {name for name, found in checked.items() if not found}
    problems += _index_problems(folder, manifest, sound)
    return problems or _canary_problems(folder, manifest)


def file_problems(folder: Path, entry: FileEntry, manifest: VersionManifest) -> list[str]:
    """What is wrong with one file of a version; empty where nothing is."""
    path = folder / entry.name
    if _leaves(entry.name):
        return [f"{MANIFEST} names a file outside its folder: {entry.name!r}"]
    if not path.is_file():
        return [f"{entry.name} is missing"]
    if entry.name == INDEX and manifest.index is not None and path.stat().st_size == entry.size_bytes:
        return _part_problems(path, manifest.index)
    found = file_entry(folder, entry.name)
    if found.size_bytes != entry.size_bytes:
        sizes = f"{found.size_bytes} bytes, the manifest says {entry.size_bytes}"
        return [f"{entry.name} holds {sizes}{_whose(found, manifest)}"]
    if found.crc32c != entry.crc32c or entry.sha256 not in ("", found.sha256):
        return [f"{entry.name} differs from its checksum{_whose(found, manifest)}"]
    return []


def _leaves(name: str) -> bool:
    """Whether a name, which a changed manifest may hold, leads out of the version's folder."""
    return ".." in Path(name).parts or Path(name).is_absolute()


def _whose(found: FileEntry, manifest: VersionManifest) -> str:
    """Says which file's content it is, where files were swapped."""
    content = (found.size_bytes, found.crc32c)
    names = [entry.name for entry in file_entries(manifest) if (entry.size_bytes, entry.crc32c) == content]
    return f": it holds the content of {names[0]}" if names else ""


def _part_problems(path: Path, index: IndexFile) -> list[str]:
    try:
        found = index_file(path, [part.size_bytes for part in index.parts])
    except RuijiError as error:
        return [str(error)]
    problems = [
        f"{INDEX} differs from its checksum in the part of {expected.size_bytes} bytes at {expected.offset}"
        for expected, part in zip(index.parts, found.parts, strict=True)
        if expected != part
    ]
    if not problems and found.crc32c != index.crc32c:
        problems = [f"{INDEX} differs from its CRC32C, though not from those of its parts"]
    return problems


def _index_problems(folder: Path, manifest: VersionManifest, sound: set[str]) -> list[str]:
    """Every record and link of index.hnsw, or of each shard file, one after the other; files whose bytes are sound."""
    rows = manifest.row_ranges[-1].end_row if manifest.row_ranges else 0
    try:
        files = (
            [(INDEX, rows)]
            if manifest.index is not None
            else [(shard.entry.name, shard.items) for shard in routed_shards(folder, manifest)]
        )
    except RuijiError as error:
        return [str(error)]
    return [p for name, items in files if name in sound for p in _graph_problems(folder / name, items)]


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
        return canary_problems(opened)
    except RuijiError as error:
        return [str(error)]


def canary_problems(opened: OpenVersion) -> list[str]:
    """What canary queries answer otherwise than when the version was published."""
    return [problem for canary in opened.manifest.canaries for problem in _replay(opened, canary)]


def _replay(opened: OpenVersion, canary: Canary) -> list[str]:
    ranges = opened.manifest.row_ranges
    if not ranges or max(canary.row, *canary.expected_rows, 0) >= ranges[-1].end_row:
        return [f"the canary query of row {canary.row} stands after the last row"]
    if not canary.expected_rows:
        return []
    query = opened.vector_at(canary.row)[None]
    rows, distances = opened.search_rows(query, len(canary.expected_rows))
    if tuple(int(r) for r in rows[0]) == canary.expected_rows or _are_as_near(opened, query, distances[0], canary):
        return []
    return [f"the canary query of row {canary.row} answers {rows[0].tolist()}, not what was published"]


def _are_as_near(opened: OpenVersion, query: Array, found: Array, canary: Canary) -> bool:
    """Whether others were found in the place of some that are just as near: of copies any may be."""
    space = space_of(opened.manifest.space)
    expected = opened.vectors_at(np.array(canary.expected_rows, np.int32)).astype(np.float64)
    one = space.prepare(query)[0].astype(np.float64)
    native = -(expected @ one) if space.is_inner_product else ((expected - one) ** 2).sum(axis=1)
    return bool(np.allclose(found, np.sort(space.to_distances(native)), rtol=1e-4, atol=1e-5))
