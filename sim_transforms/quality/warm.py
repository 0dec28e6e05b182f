"""Compiles the kernels of the index before anything is timed: every process does so once, not once an item."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

_ITEMS = 200


def warm_kernels(vectors: Array, settings: IndexSettings) -> None:
    """Builds, links, merges, reads and compares a few of the [n, d] prepared vectors."""
    few = vectors[:_ITEMS]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warm.hnsw"
        build_whole(few, replace(settings, shards=3), path)
        read_index(path)
    exact_neighbors(few[:1], few, 1, settings.space)
