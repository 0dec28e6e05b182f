"""The patch as a Beam job: the same bytes as in memory, on one process or two, and exact neighbours of live items."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

from sim_transforms.hnsw.levels import draw_levels
from sim_transforms.hnsw.patch_whole import Change, patch_whole
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.merge_shards import part_paths
from sim_transforms.options import pipeline_options
from sim_transforms.patch_version import PatchVersion, plan_patch, read_exact
from sim_transforms.records.batches import QueryBlock
from sim_transforms.settings.stages import IndexSettings
from tests.properties.test_patch_properties import Catalog, build
from tests.unit.hnsw.clouds import clustered, nearest_rows

pytestmark = pytest.mark.slow

ADDED = 90


def _change(space: str) -> Change:
    vectors = space_of(space).prepare(clustered(ADDED, 8, seed=2))
    deleted = np.array([3, *range(100, 130), 399], np.int32)
    return Change(deleted, vectors, draw_levels([f"new-{i}" for i in range(ADDED)], 8, 0))


def _run(folder: Path, catalog: Catalog, change: Change, flags: list[str]) -> tuple[bytes, Path]:
    folder.mkdir()
    parts = (catalog.ranges, catalog.centroids, catalog.free)
    planned = plan_patch(catalog.path, folder, change, parts, catalog.settings)
    rows = planned.rows[:20]
    asked = QueryBlock(rows, change.vectors[:20])
    with beam.Pipeline(options=pipeline_options(flags, {}, [])) as pipeline:
        pipeline | "PatchVersion" >> PatchVersion(planned.plan, asked, spill=True)
    paths = part_paths(str(folder), len(planned.plan.ranges))
    exact = read_exact(planned.plan)
    live = np.flatnonzero(planned.plan.array("live"))
    held = {row: catalog.held[row] for row in live.tolist() if row in catalog.held}
    held.update(zip(planned.rows.tolist(), change.vectors, strict=True))
    stacked = np.stack([held[row] for row in live.tolist()])
    wanted = [live[n[live[n] != row]][:10] for n, row in zip(_nearest(catalog, asked, stacked), rows, strict=True)]
    np.testing.assert_array_equal(exact.neighbors, np.array(wanted))
    return b"".join(path.read_bytes() for path in paths), paths[0]


def _nearest(catalog: Catalog, asked: QueryBlock, vectors: np.ndarray) -> np.ndarray:
    return nearest_rows(catalog.settings.space, asked.vectors, vectors, 11)


@pytest.mark.parametrize("space", SPACES)
def test_patch_job_gives_the_bytes_of_the_patch_in_memory(space: str, tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(400, 8), IndexSettings(space=space, shard_items=90, m=8))
    change = _change(space)
    parts = (catalog.ranges, catalog.centroids, catalog.free)
    patch_whole(catalog.path, tmp_path / "whole", change, parts, catalog.settings)
    made, _ = _run(tmp_path / "job", catalog, change, ["--direct_running_mode=in_memory"])
    assert made == (tmp_path / "whole").read_bytes()


def test_patch_job_gives_the_same_bytes_on_two_processes(tmp_path: Path) -> None:
    catalog = build(tmp_path, clustered(400, 8), IndexSettings(space="l2", shard_items=90, m=8))
    change = _change("l2")
    modes = {"a": ["--direct_running_mode=in_memory"], "b": []}
    made = {_run(tmp_path / name, catalog, change, flags)[0] for name, flags in modes.items()}
    assert len(made) == 1
