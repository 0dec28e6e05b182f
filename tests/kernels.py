"""Compiles the kernels of the index into the checkout's cache, once, before many processes want them at the same time.

python -m tests.kernels
"""

import tempfile
from pathlib import Path

import numpy as np

from sim_transforms.hnsw.levels import draw_levels
from sim_transforms.hnsw.patch_whole import Change, patch_whole
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.walk import open_graph, walk
from sim_transforms.settings.stages import IndexSettings
from tests.properties.test_patch_properties import build
from tests.unit.hnsw.clouds import clustered


def compile_all() -> None:
    """Builds, checks, searches and patches a little index of every space."""
    for space in SPACES:
        with tempfile.TemporaryDirectory() as folder:
            made = build(Path(folder), clustered(400, 8), IndexSettings(space=space, shard_items=90, m=8))
            vectors = space_of(space).prepare(clustered(90, 8, seed=2))
            levels = draw_levels([f"new-{number}" for number in range(90)], 8, 0)
            change = Change(np.arange(100, 130, dtype=np.int32), vectors, levels)
            patch_whole(
                made.path, Path(folder) / "patched", change, (made.ranges, made.centroids, made.free), made.settings
            )
            walk(open_graph(made.path), vectors, np.full(len(vectors), -1, np.int32), 5, 20)


if __name__ == "__main__":
    compile_all()
