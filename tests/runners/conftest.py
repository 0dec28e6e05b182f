"""What one process gives, which every runner must give too."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.small_catalogs import ONE_PROCESS
from tests.runners.flink import FlinkCluster
from tests.runners.jobs import index_words, run_digits, write_words


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50,000 word vectors of 50 dimensions."""
    return write_words(tmp_path_factory.mktemp("words") / "words.npy")


@pytest.fixture(scope="session")
def digits_in_one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """By Beam's own runner."""
    return run_digits(tmp_path_factory.mktemp("digits") / "work", ONE_PROCESS)


@pytest.fixture(scope="session")
def words_in_one_process(tmp_path_factory: pytest.TempPathFactory, words: Path) -> dict[str, bytes]:
    """By Beam's own runner."""
    return index_words(words, tmp_path_factory.mktemp("index") / "work", ONE_PROCESS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[FlinkCluster]:
    """A running one; after a failure the ends of its logs are shown."""
    failed = request.session.testsfailed
    with FlinkCluster(tmp_path_factory.mktemp("flink")) as running:
        yield running
        if request.session.testsfailed > failed:
            sys.stderr.write(running.logs())
