"""The nearest of every item of a version that is small enough to hold them all, as a search of it finds them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sim_transforms.hnsw.open_index import open_index
from sim_transforms.hnsw.version_vectors import VersionVectors
from sim_transforms.records.clips import SOURCE_ID
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.settings.stages import SearchSettings

Array = np.ndarray[Any, Any]

# Neighbours of an item.
K = 12
_BLOCK = 1024
# Of clips, which lie close to those of the same sound; as wide as `lookup.clips` looks for other sounds.
_CLIPS = 8 * K


def nearest(folder: Path, manifest: VersionManifest, search: SearchSettings, items: pa.Table) -> tuple[Array, Array]:
    """The K nearest of each item, itself left out; of clips the nearest clip each of the K nearest other sounds.

    Args:
        folder: of the version's files.
        manifest: of the version.
        search: how a version of layout routed is searched.
        items: row and metadata of each, in row order.

    Returns:
        (rows [n, K] int32, distances [n, K] float32 as the commands show them), nearest first, those of the same
        distance by row; -1 and infinity where there are no more.
    """
    rows = items.column("row").to_numpy()
    found, distances = np.full((len(rows), K), -1, np.int32), np.full((len(rows), K), np.inf, np.float32)
    width = min(K + 1 if manifest.clips is None else _CLIPS, len(rows))
    if width < 2:
        return found, distances
    searcher, vectors = open_index(folder, manifest, search), VersionVectors(folder, manifest)
    groups = _groups(items, rows, manifest)
    for start in range(0, len(rows), _BLOCK):
        asked = rows[start : start + _BLOCK]
        near, far = searcher.search(vectors.at(asked), width, manifest.ef_search)
        order = np.lexsort((near, far))
        near, far = np.take_along_axis(near, order, axis=1), np.take_along_axis(far, order, axis=1)
        for place, row in enumerate(asked.tolist(), start):
            kept = _first_of_others(near[place - start], groups, row)
            found[place, : len(kept)] = near[place - start, kept]
            distances[place, : len(kept)] = far[place - start, kept]
    return found, distances


def _groups(items: pa.Table, rows: Array, manifest: VersionManifest) -> Array:
    """[rows] int64: which items stand for one another: the clips of a sound, else each item for itself alone."""
    groups = np.arange(int(rows[-1]) + 1, dtype=np.int64)
    if manifest.clips is not None:
        sounds = items.column(SOURCE_ID).combine_chunks().dictionary_encode()
        groups[rows] = sounds.indices.to_numpy()
    return groups


def _first_of_others(near: Array, groups: Array, row: int) -> Array:
    """Places of the first K rows that are each of another group, and of another than the row's own."""
    there = near[near >= 0]
    of = groups[there]
    _, first = np.unique(of, return_index=True)
    first.sort()
    return first[of[first] != groups[row]][:K]
