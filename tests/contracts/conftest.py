"""`store`: what every store must hold to. A further kind of store is a further parameter of that fixture."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import publish
from tests.contracts.stores import Made
from tests.unit.storage.published import some_vectors, version_folder


@pytest.fixture(params=["local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store."""
    assert request.param == "local"
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
