"""`ruiji doctor`: exit 0 where a small job ran and all is well, exit 1 with what is wrong."""

import json
from pathlib import Path

import pytest

from tests.pipelines.small_catalogs import ONE_PROCESS, TWO_PROCESSES, configuration, digits_catalog, ruiji


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Of a small catalog."""
    return configuration(tmp_path, digits_catalog(tmp_path / "catalog", 20))


@pytest.mark.slow
def test_doctor_asks_the_workers_of_this_machine(config: Path, tmp_path: Path) -> None:
    where = ("--config", str(config), "--workdir", str(tmp_path / "work"))
    ruiji("preprocess", *where, *ONE_PROCESS)
    told = json.loads(ruiji("doctor", *where, *TWO_PROCESSES, "--json").stdout.splitlines()[-1])
    found = {check["name"]: check for check in told["checks"]}
    assert told["ok"]
    assert {check["status"] for check in told["checks"]} == {"ok"}
    assert found["workers"]["found"] == "2 processes on 1 machines answered"
    assert "2 x " in found["memory"]["found"]


def test_doctor_of_a_cluster_that_is_not_there_fails_before_any_job(config: Path, tmp_path: Path) -> None:
    where = ("--config", str(config), "--workdir", str(tmp_path / "work"))
    flags = ("--runner=FlinkRunner", "--flink_master=localhost:1", "--environment_type=EXTERNAL")
    done = ruiji("doctor", *where, *flags, "--environment_config=localhost:1", "--json", expect=1)
    checks = json.loads(done.stdout.splitlines()[-1])["checks"]
    failed = [check["name"] for check in checks if check["status"] == "failed"]
    assert failed == ["shared_filesystem", "flink_master", "environment_config"]
    assert "not ready: shared_filesystem, flink_master, environment_config" in done.stderr
