"""`store`: what every store must hold to, a parameter for each kind; one fake-gcs-server for the tests of a worker.

Each test has a prefix of its own in its bucket.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud.storage import Client

from sim_transforms.storage.gcs import GcsStore
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import publish
from tests.contracts.gcs_server import BUCKET, Gate
from tests.contracts.stores import Made
from tests.unit.storage.published import some_vectors, version_folder


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
    # Each list looks at all objects of the server.
    for left in (_gate.folder / BUCKET).iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@pytest.fixture
def gcs(gate: Gate, tmp_path: Path) -> GcsStore:
    return GcsStore(f"gs://{BUCKET}/{tmp_path.name}", patience_seconds=20, chunk_bytes=2**20)


@pytest.fixture(params=["local", pytest.param("gcs", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store."""
    if request.param == "gcs":
        return request.getfixturevalue("gcs")
    return LocalStore(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The files of one small version, built once; versions of other ids are made by another catalog digest."""
    folder = tmp_path_factory.mktemp("made")
    return Made(folder, version_folder(folder, some_vectors(items=48)))


@pytest.fixture
def publish_named(store: ObjectStore, made: Made) -> Callable[[str, str | None], str]:
    """(name, parent) -> id of a version that was published."""

    def published(name: str, parent: str | None) -> str:
        return publish(store, made.folder, made.named(name, parent))

    return published


@pytest.fixture
def three(publish_named: Callable[[str, str | None], str]) -> tuple[str, str, str]:
    """Three versions, each the parent of the next; the last is LATEST."""
    first = publish_named("first", None)
    second = publish_named("second", first)
    return first, second, publish_named("third", second)
