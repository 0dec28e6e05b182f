"""80 hostile files end with exactly the accepts and rejects that are right, within bounds of time and memory."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.processes import run_measured
from tests.pipelines.hostile_media import OK, hostile_files, write_hostile
from tests.pipelines.small_catalogs import ONE_PROCESS, command

LONGEST_SECONDS, LARGEST_BYTES = 90.0, round(1.2 * 2**30)
MEDIA = {
    "image": {"kind": "image", "height": 32, "width": 32, "channels": 3},
    "audio": {"kind": "audio", "sample_rate": 16000, "seconds": 1.0, "hop_seconds": 0.5, "max_seconds": 300.0},
}


def test_there_are_eighty_of_them() -> None:
    assert len({file.name for file in hostile_files()}) == len(hostile_files()) == 80


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_hostile_files_are_accepted_or_rejected_as_they_must(kind: str, tmp_path: Path) -> None:
    files = write_hostile(tmp_path / "media")
    config = tmp_path / "config.yaml"
    settings = {
        "name": "hostile",
        "workdir": str(tmp_path / "work"),
        "catalog": {"source": str(tmp_path / "media")},
        "media": MEDIA[kind],
        "preprocess": {"max_reject_share": 1.0},
    }
    config.write_text(yaml.safe_dump(settings))
    done = run_measured(
        command("preprocess", "--config", str(config), "--json", *ONE_PROCESS), {"TF_CPP_MIN_LOG_LEVEL": "2"}
    )
    assert done.seconds < LONGEST_SECONDS
    assert 0 < done.peaks.largest_rss < LARGEST_BYTES
    expected = {f"all/{file.name}": file.picture if kind == "image" else file.sound for file in files}
    examples = tmp_path / "work" / "examples"
    rejects = pq.read_table(examples / "rejects.parquet").to_pylist()
    found = {row["item_id"]: OK for row in pq.read_table(examples / "media.parquet").to_pylist()}
    assert not found.keys() & {row["item_id"] for row in rejects}
    found |= {row["item_id"]: row["reason"] for row in rejects}
    assert found == expected
    accepted = sum(reason == OK for reason in expected.values())
    ledger = json.loads(done.output.splitlines()[-1])["ledger"]
    assert ledger == {"items_in": 80, "items_out": accepted, "rejected": 80 - accepted, "skipped": 0}
    assert all(row["message"] for row in rejects)
