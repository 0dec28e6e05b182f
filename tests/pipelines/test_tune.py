"""`ruiji tune` and `ruiji index --estimate` from the command line."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines._main import Main
from pipelines.cli import main, parser
from pipelines.stages import Stages
from sim_transforms.runs.stages import run_stage
from sim_transforms.runs.state import StageState
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog, ruiji
from tests.transforms.test_build_index import _write_embeddings
from tests.unit.hnsw.clouds import clustered

TIMED = ("queries_per_second", "build_core_seconds", "sample_core_seconds")
ROW = {
    "m", "ef_construction", "ef_search", "recall_at_1", "recall_at_10", "recall_at_10_low", "recall_at_10_high",
    "reaches_target", "queries_per_second", "index_bytes", "build_core_seconds", "sample_core_seconds", "items",
    "sample", "queries",
}  # fmt: skip


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    np.save(tmp_path / "vectors.npy", clustered(600, 16))
    return tmp_path / "vectors.npy"


def _tune(vectors: Path, *arguments: str) -> int:
    return main(["tune", "--embeddings", str(vectors), "--m", "4,8", "--ef-construction", "20,50", *arguments])


def _untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


def test_tune_json_is_rows_and_the_recommended_one(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _tune(vectors, "--json") == 0
    out = capsys.readouterr().out
    result = json.loads(out)
    assert out.count("\n") == 1
    assert result.keys() == {"rows", "recommended"}
    assert [(r["m"], r["ef_construction"]) for r in result["rows"]] == [(4, 20), (4, 50), (8, 20), (8, 50)]
    assert all(row.keys() == ROW for row in result["rows"])
    assert result["recommended"] in result["rows"]
    assert (result["rows"][0]["items"], result["rows"][0]["sample"], result["rows"][0]["queries"]) == (600, 480, 120)


def test_tune_twice_differs_in_times_alone(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for _ in range(2):
        assert _tune(vectors, "--json", "--sample", "300") == 0
        results.append(_untimed(json.loads(capsys.readouterr().out)["rows"]))
    assert results[0] == results[1]


def test_tune_text_marks_a_row_and_ends_with_the_flags(vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _tune(vectors, "--set", "index.space=l2") == 0
    lines = capsys.readouterr().out.splitlines()
    (marked,) = (line.split() for line in lines[1:5] if line.startswith("*"))
    assert lines[-1] == f"--set index.m={marked[1]} --set index.ef_construction={marked[2]}"


def test_tune_output_is_the_table_as_csv(vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _tune(vectors, "--json", "--output", str(tmp_path / "new" / "table.csv")) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    with (tmp_path / "new" / "table.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["ef_search"] for row in written] == [str(row["ef_search"]) for row in rows]
    assert [row["recommended"] for row in written].count("True") == 1


def test_tune_below_the_target_prints_the_table_and_ends_with_1(
    vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "--set",
        "index.recall_target=1.0",
        "--set",
        "index.shard_items=60",
        "--set",
        "index.neighbor_shards=0",
    )
    code = main(["tune", "--embeddings", str(vectors), "--m", "2", "--ef-construction", "2", *arguments])
    shown = capsys.readouterr()
    assert code == 1
    assert "no row reaches index.recall_target 1.0" in shown.err
    assert "try --m above 2" in shown.err
    assert shown.out.splitlines()[1].startswith("*")
    assert shown.out.splitlines()[-1] == "--set index.m=2 --set index.ef_construction=2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--m", "8,many"], "--m: found '8,many'; whole numbers with commas between"),
        (["--m", "1"], "m: from 2 to 100 is expected"),
        (["--sample", "3"], "--sample: found 3; at least 10"),
        (["--set", "index.mm=3"], "did you mean 'm'?"),
        (["--ids", "nowhere.txt"], "--ids nowhere.txt: there is no such file"),
        (["--efconstruction", "50"], "did you mean --ef-construction?"),
    ],
)
def test_tune_wrong_usage_ends_with_2(
    arguments: list[str], said: str, vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "--embeddings", str(vectors), *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_index_estimate_of_foreign_vectors_publishes_nothing(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, work = configuration(tmp_path, tmp_path / "nowhere.csv"), tmp_path / "work"
    arguments = ["index", "--config", str(config), "--workdir", str(work), "--estimate", "--json", *ONE_PROCESS]
    assert main([*arguments, "--embeddings", str(vectors)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["items"], figures["dimension"], figures["workers"]) == (600, 16, 1)
    assert figures["seconds"] > 0
    assert [p.relative_to(work).as_posix() for p in sorted(work.rglob("*"))] == ["state", "state/estimate.json"]


def test_index_estimate_without_any_vectors_says_what_to_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configuration(tmp_path, tmp_path / "nowhere.csv")
    assert main(["index", "--config", str(config), "--workdir", str(tmp_path / "work"), "--estimate"]) == 1
    assert "--embeddings PATH" in capsys.readouterr().err


def test_index_run_after_its_estimate_compares_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, work = configuration(tmp_path, tmp_path / "nowhere.csv", index={"shard_items": 200}), tmp_path / "work"
    work.mkdir()
    _write_embeddings(work / "embeddings", clustered(600, 16), "cosine")
    arguments = ["index", "--config", str(config), "--workdir", str(work), *ONE_PROCESS]
    assert main([*arguments, "--estimate", "--embeddings", str(work / "embeddings")]) == 0
    running = Main(*parser().parse_known_args(arguments))
    stages = Stages(running, running.settings())
    results = run_stage(stages.index(), StageState(work), running.notify).results
    rows = {row["name"]: row for row in results["estimate"]}
    memory = {"worker_peak_bytes", "driver_peak_bytes"}
    assert rows.keys() == {"shards", "index_bytes", "disk_bytes", "seconds", *memory}
    assert all(rows[name]["measured"] > 2**27 for name in memory)
    assert rows["index_bytes"]["ratio"] == pytest.approx(1.0, abs=0.02)
    assert rows["disk_bytes"]["ratio"] == pytest.approx(1.0, abs=0.2)
    version = Path(results["folder"])
    assert json.loads((version / "timings.json").read_text())["estimate"] == results["estimate"]
    assert "estimate" not in (version / "manifest.json").read_text()
    assert "expecting 4 shards" in capsys.readouterr().err


@pytest.mark.slow
def test_index_estimate_before_embedding_embeds_a_sample_and_holds_for_the_run(tmp_path: Path) -> None:
    config = configuration(tmp_path, digits_catalog(tmp_path / "media", 120))
    given = ("--config", str(config), "--workdir", str(tmp_path / "work"))
    ruiji("preprocess", *given, *ONE_PROCESS)
    ruiji("train", *given)
    figures = json.loads(ruiji("index", *given, "--estimate", "--json", *ONE_PROCESS).stdout)
    assert (figures["items"], figures["dimension"]) == (120, 64)
    assert figures["embed_seconds"] > 0
    assert not (tmp_path / "work" / "embeddings").exists()
    shown = ruiji("index", *given, *ONE_PROCESS).stdout
    assert "seconds      predicted" in shown
    embedded = json.loads(ruiji("index", *given, "--estimate", "--json", *ONE_PROCESS).stdout)
    assert embedded["embed_seconds"] == 0
