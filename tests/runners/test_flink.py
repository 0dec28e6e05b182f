"""A real Flink cluster gives the bytes of one process, and its two TaskManagers share the work."""

import json
from pathlib import Path

import pytest

from tests.runners.flink import TASK_MANAGERS, FlinkCluster
from tests.runners.jobs import SHARD_ITEMS, WORDS, check_up, differences, index_words, run_digits

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]
LEAST_SHARE = 0.25


def test_flink_digits_give_the_bytes_of_one_process(
    cluster: FlinkCluster, tmp_path: Path, digits_in_one_process: dict[str, bytes]
) -> None:
    assert len(digits_in_one_process) > 20
    assert differences(run_digits(tmp_path / "work", cluster.flags), digits_in_one_process) == []


def test_flink_words_give_the_bytes_of_one_process_and_both_task_managers_work(
    cluster: FlinkCluster, tmp_path: Path, words: Path, words_in_one_process: dict[str, bytes]
) -> None:
    work = tmp_path / "work"
    assert differences(index_words(words, work, cluster.flags), words_in_one_process) == []
    (timings,) = work.glob("store/versions/*/timings.json")
    for stage in ("build", "merge"):
        shares = json.loads(timings.read_text())["shares"][stage]
        assert sum(shares) >= WORDS // SHARD_ITEMS
        assert sum(share >= LEAST_SHARE * sum(shares) for share in shares) >= TASK_MANAGERS, (stage, shares)


def test_doctor_finds_the_cluster_healthy(cluster: FlinkCluster, tmp_path: Path) -> None:
    told = check_up(tmp_path / "work", cluster.flags)
    assert told["ok"], told
    found = {check["name"]: check["found"] for check in told["checks"]}
    assert found["workers"] == f"{TASK_MANAGERS} processes on 1 machines answered"
    assert found["versions"] == "the same as here"
