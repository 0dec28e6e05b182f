"""What one process gives, which every runner must give too."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipelines.small_catalogs import ONE_PROCESS, published_bytes
from tests.runners.flink import FlinkCluster
from tests.runners.jobs import bytes_of_digits, index_words, run_digits, write_words


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50,000 word vectors of 50 dimensions."""
    return write_words(tmp_path_factory.mktemp("words") / "words.npy")


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which Beam's own runner has worked the digits, in one process."""
    with _made_once(tmp_path_factory, "digits") as (folder, made):
        if not made:
            run_digits(folder, ONE_PROCESS)
        return folder


@pytest.fixture(scope="session")
def digits_in_one_process(digits_folder: Path) -> dict[str, bytes]:
    """What that has left."""
    return bytes_of_digits(digits_folder)


@pytest.fixture(scope="session")
def words_in_one_process(tmp_path_factory: pytest.TempPathFactory, words: Path) -> dict[str, bytes]:
    """By Beam's own runner."""
    with _made_once(tmp_path_factory, "words") as (folder, made):
        return published_bytes(folder / "store") if made else index_words(words, folder, ONE_PROCESS)


@contextmanager
def _made_once(factory: pytest.TempPathFactory, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder that the workers of the suite share, and whether one of them has filled it; the others wait."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    sealed = root / f"{name}-made"
    with (root / f"{name}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield root / f"{name}-in-one-process", sealed.exists()
        sealed.touch()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[FlinkCluster]:
    """A running one; after a failure the ends of its logs are shown."""
    failed = request.session.testsfailed
    with FlinkCluster(tmp_path_factory.mktemp("flink")) as running:
        yield running
        if request.session.testsfailed > failed:
            sys.stderr.write(running.logs())
