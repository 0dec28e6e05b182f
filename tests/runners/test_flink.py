"""A real Flink cluster gives the bytes of one process, its two TaskManagers share the work, and faults do no harm.

What is killed or cancelled leaves the right version, or none; thoroughly, twenty times in a row. All stand in one file,
so that they share one cluster.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.pipelines.small_catalogs import published_bytes
from tests.runners.flink import TASK_MANAGERS, FlinkCluster
from tests.runners.jobs import (
    SHARD_ITEMS,
    WORDS,
    check_up,
    differences,
    index_digits_arguments,
    index_words,
    run_digits,
    start,
    words_arguments,
)
from tests.thorough import rounds

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]
LEAST_SHARE = 0.25
_LIMIT = 300.0


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


@pytest.fixture(params=range(rounds(20, 1)))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Of one job, as often as is asked for."""
    return tmp_path / "work"


def _wait(until: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    ends = time.monotonic() + _LIMIT
    while not until():
        assert process.poll() is None, f"ended before its time:\n{log.read_text()[-4000:]}"
        assert time.monotonic() < ends, f"never came so far:\n{log.read_text()[-4000:]}"
        time.sleep(0.05)


def _finish(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(_LIMIT)
    finally:
        process.kill()
        process.wait()


def _built(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.links.npy"))


@contextmanager
def _building(cluster: FlinkCluster, words: Path, folder: Path, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A job that indexes the words, and has built some shards; ended on leaving."""
    process = start(words_arguments(words, folder, cluster.flags), log)
    try:
        _wait(lambda: _built(folder) >= 3, process, log)
        yield process
    finally:
        process.kill()


def _workers(cluster: FlinkCluster) -> list[psutil.Process]:
    """Python workers that the pool has started and that are alive."""
    children = psutil.Process(cluster.pool.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def test_a_task_manager_killed_while_shards_are_built(
    cluster: FlinkCluster, folder: Path, tmp_path: Path, words: Path, words_in_one_process: dict[str, bytes]
) -> None:
    log = tmp_path / "log"
    with _building(cluster, words, folder, log) as process:
        cluster.task_managers[-1].kill()
        cluster.start_task_manager(len(cluster.task_managers))
        code = _finish(process)
    _right_or_not_there(code, folder, words_in_one_process, log)
    cluster.wait_for_task_managers(TASK_MANAGERS)


def test_a_python_worker_killed_while_it_embeds(
    cluster: FlinkCluster, folder: Path, tmp_path: Path, digits_folder: Path
) -> None:
    log = tmp_path / "log"
    process = start(index_digits_arguments(digits_folder, folder, cluster.flags), log)
    try:
        _wait(lambda: _embedding(folder), process, log)
        (victim, *_) = sorted(_workers(cluster), key=lambda worker: worker.create_time())[-1:]
        os.kill(victim.pid, signal.SIGKILL)
        code = _finish(process)
    finally:
        process.kill()
    _right_or_not_there(code, folder, published_bytes(digits_folder / "store"), log)


def _embedding(folder: Path) -> bool:
    """Whether an item has been read by a worker."""
    return any(path.stat().st_size for path in folder.rglob(".embed-*.scratch/tally/*"))


def test_a_job_that_was_cancelled_is_submitted_again(
    cluster: FlinkCluster, folder: Path, tmp_path: Path, words: Path, words_in_one_process: dict[str, bytes]
) -> None:
    log = tmp_path / "log"
    with _building(cluster, words, folder, log) as process:
        (job,) = [job for job in cluster.jobs() if job["state"] == "RUNNING"]
        cluster.cancel(job["jid"])
        assert _finish(process) == 1
    assert published_bytes(folder / "store") == {}
    again = start(words_arguments(words, folder, cluster.flags), log)
    assert _finish(again) == 0, log.read_text()[-4000:]
    assert differences(published_bytes(folder / "store"), words_in_one_process) == []


def _right_or_not_there(code: int, folder: Path, expected: dict[str, bytes], log: Path) -> None:
    """Exit 0 and the bytes of one process, or exit 1 and nothing published."""
    found = published_bytes(folder / "store")
    assert code in (0, 1), log.read_text()[-4000:]
    assert differences(found, expected if code == 0 else {}) == [], log.read_text()[-4000:]
