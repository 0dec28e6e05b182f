"""Builds the upper layers of a merged graph: a small graph a level, over the items of that level or more."""

from typing import Any

import numpy as np

from sim_transforms.hnsw.build import insert_all
from sim_transforms.hnsw.connect import connect
from sim_transforms.hnsw.levels import highest
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import UpperLayers, no_upper_layers
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]


def build_upper(rows: Array, vectors: Array, levels: Array, settings: IndexSettings) -> UpperLayers:
    """Upper layers of a merged graph; the entry point is the lowest row of the highest level.

    NMSLIB builds them by insertion: it keeps the far links by which a search finds its way between groups of items.

    Args:
        rows: [u] int32 global rows of the items of level >= 1, ascending.
        vectors: [u, d] float32 prepared.
        levels: [u] int8, at least 1.
        settings: of the index.
    """
    if not len(rows):
        return no_upper_layers()
    width, levels = settings.m + 1, levels.astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(levels.astype(np.int64) * width)])
    words = np.zeros(int(starts[-1]), np.int32)
    entry = highest(levels)
    for level in range(1, int(levels.max()) + 1):
        members = np.flatnonzero(levels >= level)
        # Level 1 is all of them: no copy.
        held = vectors if len(members) == len(vectors) else vectors[members]
        links = _layer(held, int(np.searchsorted(members, entry)), settings)
        block = np.zeros((len(members), width), np.int32)
        block[:, 0] = (links >= 0).sum(axis=1)
        block[:, 1:] = np.where(links >= 0, rows[members][links], 0)
        words[(starts[members] + (level - 1) * width)[:, None] + np.arange(width)] = block
    return UpperLayers(int(levels.max()), int(rows[entry]), rows, levels, words, starts[:-1])


def _layer(vectors: Array, entry: int, settings: IndexSettings) -> Array:
    """[u, m] int32 local links, nearest first, padded with -1; every row can be reached from `entry`."""
    inner_product = space_of(settings.space).is_inner_product
    links = insert_all(vectors, settings, settings.m)
    connect(links, vectors, entry, np.zeros(0, np.int32), 0, inner_product)
    return links
