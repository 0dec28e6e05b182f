"""Opens the index of a version, whichever layout it has, for look-ups and for measuring what is published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import DamagedArtefact
from sim_transforms.hnsw.routed import RoutedIndex, RoutedSearcher, RoutedShard, points_of
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.searcher import Searcher
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.records.arrays import load_array
from sim_transforms.records.manifests import FileEntry, VersionManifest
from sim_transforms.settings.stages import SearchSettings

Array = np.ndarray[Any, Any]

CENTROIDS = "centroids.npy"
LONGEST = "longest.npy"
MERGED = "index.hnsw"


def open_index(
    folder: Path,
    manifest: VersionManifest,
    limits: SearchSettings,
    check: Callable[[FileEntry], None] | None = None,
) -> Searcher:
    """Opens `index.hnsw`, or the shards as queries will need them.

    Args:
        folder: of the version's files on this machine.
        manifest: of the version.
        limits: how shards that stay apart are searched; without meaning for a merged index.
        check: called with a shard's file entry each time before it is opened.

    Raises:
        DamagedArtefact: a file is missing or does not fit the manifest.
        UsageError: the memory budget is smaller than the largest shard.
    """
    if manifest.index is None:
        return RoutedSearcher(routed_index(folder, manifest), limits, check)
    rows = manifest.row_ranges[-1].end_row if manifest.row_ranges else 0
    return NativeSearcher(folder / MERGED, manifest.space, rows, manifest.dimension)


def routed_index(folder: Path, manifest: VersionManifest) -> RoutedIndex:
    """The shards and centroids of a version of layout routed; opens no shard.

    Raises:
        DamagedArtefact: shard files and row ranges do not belong together, or their numpy files cannot be read.
    """
    centroids, longest = _read(folder / CENTROIDS), None
    if space_of(manifest.space).is_inner_product:
        longest = _read(folder / LONGEST)
        if longest.shape != centroids.shape[:1]:
            raise DamagedArtefact(f"{folder / LONGEST} is of shape {longest.shape}; {centroids.shape[:1]} is expected")
    shards = routed_shards(folder, manifest)
    return RoutedIndex(shards, points_of(centroids, longest), manifest.space, manifest.dimension)


def routed_shards(folder: Path, manifest: VersionManifest) -> list[RoutedShard]:
    """The shards in row order; raises DamagedArtefact where files and row ranges do not belong together."""
    entries, ranges = manifest.shard_files, manifest.row_ranges
    if len(entries) != len(ranges):
        found = f"{len(entries)} shard files and {len(ranges)} row ranges"
        raise DamagedArtefact(f"{folder}: its manifest lists {found}; one range a file is expected")
    return [
        RoutedShard(folder / entry.name, rows.first_row, rows.end_row - rows.first_row, entry)
        for entry, rows in zip(entries, ranges, strict=True)
    ]


def _read(path: Path) -> Array:
    try:
        return np.asarray(load_array(path), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise DamagedArtefact(f"{path} is no readable .npy file: {error}") from error


def published_probe(manifest: VersionManifest) -> int:
    """Shards probed when the recall of a routed version was measured; 1 for a merged one, where it has no meaning.

    Raises:
        DamagedArtefact: a routed version does not say it.
    """
    if manifest.index is not None:
        return 1
    probe = manifest.parameters.get("probe")
    if not isinstance(probe, int) or probe < 1:
        raise DamagedArtefact(
            f"the manifest of a routed version has parameters.probe {probe!r}; at least 1 is expected"
        )
    return probe
