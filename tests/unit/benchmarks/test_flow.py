"""The scripts from vectors to tables, on few vectors, with a stand-in for the command."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import builders, index, recall_target, scale
from benchmarks.comparison import Figures
from benchmarks.curves import point_at
from benchmarks.data import clustered, held_out, make_data
from benchmarks.peers import Recipe, build_peer
from benchmarks.ruiji import index_command
from sim_transforms.settings.stages import IndexSettings

FAKE = (sys.executable, "-m", "tests.unit.benchmarks.fake_ruiji")
FEW = held_out("tiny", clustered(340, 16, 5, seed=0), None, 40, seed=0)


PLAN = index.Plan(Recipe(threads=1), shards=("auto", "64"), peers=("nmslib",), rounds=2, settings={}, program=FAKE)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Of a whole run of `PLAN`, which has left only the vectors behind."""
    folder = tmp_path_factory.mktemp("index")
    figures = index.run_rounds(PLAN, FEW, folder)
    assert [path.name for path in folder.iterdir()] == ["items.npy"]
    return figures


def test_index_command_of_settings_sets_each_key_in_its_section(tmp_path: Path) -> None:
    command = index_command(tmp_path / "x.npy", tmp_path / "run", {"shards": 4, "space": "l2"}, 2, ("ruiji",))
    places = ["--embeddings", str(tmp_path / "x.npy"), "--store", str(tmp_path / "run" / "store")]
    places += ["--workdir", str(tmp_path / "run" / "work")]
    overrides = ["--set", "index.shards=4", "--set", "index.space=l2"]
    assert command == ["ruiji", "index", *places, *overrides, "--direct_num_workers=2", "--json"]


def test_index_run_of_two_rounds_measures_each_system_in_each_round(figures: Figures) -> None:
    assert set(figures.builds) == {"ruiji", "ruiji, 64 shards", "nmslib"}
    assert all(len(builds) == 2 for builds in figures.builds.values())
    assert [build.graph_seconds for build in figures.builds["ruiji"]] == [0.25, 0.25]
    assert all(build.largest_bytes > 2**20 for builds in figures.builds.values() for build in builds)


def test_index_run_of_shuffled_rows_finds_the_positions_of_the_vectors(figures: Figures) -> None:
    assert point_at(figures.system("ruiji").curve, 200).recall_10 == 1.0


def test_index_report_of_a_run_prints_tables_and_targets(figures: Figures, capsys: pytest.CaptureFixture[str]) -> None:
    targets = index.report(PLAN, FEW, figures, 1.5)
    printed = capsys.readouterr().out
    assert "First small run of Ruiji: 1.5 s." in printed
    assert "| ruiji, 64 shards | 100 |" in printed
    assert targets[-1].name == "recall@1 at 64 shards - NMSLIB"
    json.dumps(index.all_figures(PLAN, FEW, figures, targets, 1.5), allow_nan=False)


def test_index_plan_of_an_unknown_peer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match=r"found 'annoy'; some of nmslib, hnswlib, faiss"):
        index.plan_of(index.parse(["--peers", "annoy"]))


def test_index_plan_of_shards_that_are_no_number_is_refused() -> None:
    with pytest.raises(SystemExit, match="found '16,many'"):
        index.plan_of(index.parse(["--peers", "nmslib", "--shards", "16,many"]))


def test_turned_order_of_each_round_begins_with_the_next_system() -> None:
    assert [index.turned(("a", "b", "c"), number) for number in (0, 1, 3)] == [list("abc"), list("bca"), list("abc")]


def test_scale_run_of_two_sizes_gives_the_cost_of_each(tmp_path: Path) -> None:
    sizes = scale.run(scale.Plan((100, 200), 50, 1, 1, 0, FAKE), tmp_path)
    assert [size.items for size in sizes] == [100, 200]
    assert sizes[1].graph_microseconds == 0.25 / 200 * 1e6
    assert sizes[0].cpu_seconds > 0
    assert sizes[0].main_rss > 2**20


def test_recall_target_run_measures_the_queries_that_the_build_never_saw(tmp_path: Path) -> None:
    given = argparse.Namespace(data="tiny", items=300, queries=20, seeds="0,1", workdir=tmp_path)
    outcomes = recall_target.run(given, recall_target.Plan(0.99, "l2", 1, FAKE))
    assert [(outcome.seed, outcome.ef_search, outcome.promised) for outcome in outcomes] == [
        (0, 100, 0.99),
        (1, 100, 0.99),
    ]
    assert all(outcome.recall == 1.0 and outcome.queries == 20 for outcome in outcomes)


def test_builders_compare_gives_seconds_and_curves_of_all_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def build_whole(vectors: np.ndarray[Any, Any], settings: Any, path: Path) -> np.ndarray[Any, Any]:
        built.append(settings["builder"])
        build_peer("nmslib", vectors[::-1], Recipe(threads=1), path)
        return np.arange(len(vectors))[::-1]

    monkeypatch.setattr(builders, "IndexSettings", _settings)
    data = make_data("tiny", 300, 20, seed=0)
    result = builders.compare("tiny", data, {"shard_items": 100}, 2, tmp_path, build_whole)
    assert built == ["products", "insertion", "insertion", "products"]
    assert all(len(seconds) == 2 for seconds in result.seconds.values())
    assert all(point_at(curves[0], 200).recall_10 == 1.0 for curves in result.curves.values())
    assert builders.results_table([result]).count("| 300 tiny") == 3


def _settings(**given: Any) -> Any:
    return given if "builder" in given else IndexSettings(**given)
