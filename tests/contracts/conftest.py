"""One fake-gcs-server for the tests of a worker; each test has a prefix of its own in its bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud.storage import Client

from sim_transforms.storage.gcs import GcsStore
from tests.contracts.gcs_server import BUCKET, Gate


@pytest.fixture(scope="session")
def _gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    gate = Gate(tmp_path_factory.mktemp("gcs"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", gate.url)
            with Client() as client:
                client.create_bucket(BUCKET)
        yield gate
    finally:
        gate.close()


@pytest.fixture
def gate(_gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _gate.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _gate.reset()
    yield _gate
    _gate.reset()


@pytest.fixture
def gcs(gate: Gate, tmp_path: Path) -> GcsStore:
    return GcsStore(f"gs://{BUCKET}/{tmp_path.name}", patience_seconds=20, chunk_bytes=2**20)
