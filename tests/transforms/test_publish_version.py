"""Publishing follows LATEST, is done when it is repeated, and repairs a store whose LATEST was lost."""

from dataclasses import replace
from pathlib import Path

import pytest

from sim_transforms.lookup.verify import verify_version
from sim_transforms.publish_version import publish_version
from sim_transforms.storage.versions import latest, load_manifest, object_name
from tests.unit.storage.published import published_store, some_vectors


def test_publish_version_follows_latest_and_is_done_when_repeated(tmp_path: Path) -> None:
    store, first = published_store(tmp_path, some_vectors())
    manifest = load_manifest(store, first)
    assert publish_version(store, tmp_path / "new", manifest) == first
    second = publish_version(store, tmp_path / "new", replace(manifest, catalog="next"))
    assert load_manifest(store, second).parent == first
    assert publish_version(store, tmp_path / "new", replace(manifest, catalog="next")) == second


@pytest.mark.parametrize("damage", ["lost", "changed"])
def test_publish_version_where_latest_is_damaged_repairs_the_store(damage: str, tmp_path: Path) -> None:
    store, first = published_store(tmp_path, some_vectors())
    manifest = load_manifest(store, first)
    second = publish_version(store, tmp_path / "new", replace(manifest, catalog="next"))
    name = object_name(second, "manifest.json")
    if damage == "lost":
        store.delete(name)
    else:
        store.write(name, b"{}")
    third = publish_version(store, tmp_path / "new", replace(manifest, catalog="third"))
    assert latest(store) == third
    assert verify_version(store, third) == []
