"""Which steps of a graph stand in an environment of their own, with hints and without; no job is run."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

from sim_transforms.build_index import BuildIndex
from sim_transforms.index_input import IndexInput, open_embeddings
from sim_transforms.resource_hints import NO_HINTS, Asking, IndexHints
from sim_transforms.settings.stages import IndexSettings
from tests.runners.dataflow import hints_of

GIB = 2**30


@pytest.fixture
def given(tmp_path: Path) -> IndexInput:
    np.save(tmp_path / "vectors.npy", np.eye(64, 8, dtype=np.float32))
    return open_embeddings(tmp_path / "vectors.npy", None, "l2")


def _hints(given: IndexInput, settings: IndexSettings, hints: IndexHints) -> dict[str, dict[str, str]]:
    pipeline = beam.Pipeline()
    pieces = pipeline | "Pieces" >> beam.Create(given.source.pieces)
    pieces | "BuildIndex" >> BuildIndex(given, "/scratch", settings, hints=hints)
    found = hints_of(pipeline.to_runner_api())
    return {name.removeprefix("BuildIndex/"): each for name, each in found.items()}


@pytest.mark.parametrize(
    ("layout", "last"), [("merged", "MergeShards/Records"), ("routed", "RouteShards/WriteShardFiles")]
)
def test_each_layout_asks_where_it_holds_a_shard(given: IndexInput, layout: str, last: str) -> None:
    settings = IndexSettings(space="l2", layout=layout)
    found = _hints(given, settings, Asking(at_once=2).index(64, 8, settings))
    for step in ("FitPartition/Fit", "AssignShards/SplitAndWrite", "BuildShards/Build", "MeasureShards/Measure", last):
        assert set(found[step]) == {"min_ram_bytes"}, step
    # What reads vectors stays with what sends them on: their way to a hint is the shuffle that is there anyway.
    for step in ("ReadEmbeddings/Read", "FitPartition/Sample", "AssignShards/Assign", "PlanShards", "HandBackPlans"):
        assert found[step] == {}, step


def test_upper_layers_may_ask_for_more_than_a_shard(given: IndexInput) -> None:
    hints = IndexHints({"min_ram": 2 * GIB}, {"min_ram": 2 * GIB}, {"min_ram": 5 * GIB})
    found = _hints(given, IndexSettings(space="l2"), hints)
    assert found["MergeShards/Upper"] == {"min_ram_bytes": str(5 * GIB)}
    assert found["MergeShards/UpperLinks"] == found["LinkShards/Link"] == {"min_ram_bytes": str(2 * GIB)}


def test_without_hints_all_steps_share_an_environment(given: IndexInput) -> None:
    found = _hints(given, IndexSettings(space="l2"), NO_HINTS)
    assert len(found) > 40
    assert not any(found.values())
