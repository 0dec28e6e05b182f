"""Checks a published version in full: checksums, structure of the index, canary queries."""

from pathlib import Path

import numpy as np

from sim_transforms.errors import RuijiError
from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.lookup.open import OpenVersion, version_folder
from sim_transforms.records.manifests import FileEntry, VersionManifest
from sim_transforms.storage.checksums import file_entry, index_file
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import INDEX, file_entries, load_manifest


def verify_version(store: ObjectStore, version: str) -> list[str]:
    """What is wrong with a version, one line each; empty where nothing is."""
    try:
        manifest = load_manifest(store, version)
        folder = version_folder(store, version)
    except RuijiError as error:
        return [str(error)]
    problems = [p for entry in file_entries(manifest) for p in _file_problems(folder, entry)]
    # NMSLIB ends the process on damaged files, so the index is opened only when its bytes are as published.
    return problems or _part_problems(folder, manifest) or _canary_problems(folder, manifest)


def _file_problems(folder: Path, entry: FileEntry) -> list[str]:
    path = folder / entry.name
    if not path.is_file():
        return [f"{entry.name} is missing"]
    found = file_entry(folder, entry.name)
    if found.size_bytes != entry.size_bytes:
        return [f"{entry.name} holds {found.size_bytes} bytes, the manifest says {entry.size_bytes}"]
    if found.crc32c != entry.crc32c or entry.sha256 not in ("", found.sha256):
        return [f"{entry.name} differs from its checksum"]
    return []


def _part_problems(folder: Path, manifest: VersionManifest) -> list[str]:
    found = index_file(folder / INDEX, [part.size_bytes for part in manifest.index.parts])
    return [
        f"{INDEX} differs from its checksum in the part of {expected.size_bytes} bytes at {expected.offset}"
        for expected, part in zip(manifest.index.parts, found.parts, strict=True)
        if expected != part
    ]


def _canary_problems(folder: Path, manifest: VersionManifest) -> list[str]:
    try:
        OpenVersion("", manifest, folder)
        index = read_index(folder / INDEX)
        searcher = NativeSearcher(folder / INDEX, manifest.space, index.header.items, manifest.dimension)
    except RuijiError as error:
        return [str(error)]
    problems = []
    for canary in manifest.canaries:
        if canary.row >= index.header.items:
            problems.append(f"the canary query of row {canary.row} stands after the last row")
            continue
        query = np.array(index.records[canary.row]["vector"])[None]
        rows, _ = searcher.search(query, len(canary.expected_rows), manifest.ef_search)
        if tuple(int(r) for r in rows[0]) != canary.expected_rows:
            problems.append(f"the canary query of row {canary.row} answers {rows[0].tolist()}, not what was published")
    return problems
