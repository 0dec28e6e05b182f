"""A published version answers queries, says what is wrong with them, and needs neither Beam nor TensorFlow."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.storage.collect import collect
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, load_manifest, publish
from tests.unit.storage.published import published_store, some_vectors, version_folder

_READ_ONLY = """
import os, sys
from sim_transforms.storage.local import LocalStore
def refuse(*_):
    raise PermissionError("read-only")
LocalStore.write = LocalStore.upload = LocalStore.delete = LocalStore.compare_and_swap = refuse
calls = []
def counted(name):
    real = getattr(LocalStore, name)
    def call(*arguments):
        calls.append(name)
        return real(*arguments)
    return call
for name in ("read", "info", "list", "download"):
    setattr(LocalStore, name, counted(name))
from sim_transforms.lookup.open import open_version
open_version(sys.argv[1]).search_item("item-3", 3)
print(calls)
"""

_WITHOUT = """
import sys
sys.modules.update({name: None for name in ("tensorflow", "apache_beam", "keras", "tensorflow_transform", "tfx_bsl")})
from sim_transforms.lookup.open import open_version
print([m.item_id for m in open_version(sys.argv[1]).search_item("item-3", 3)])
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenVersion:
    store, _ = published_store(tmp_path_factory.mktemp("lookup"), some_vectors())
    return open_version(store.url)


def test_search_finds_the_exact_neighbours_with_metadata(opened: OpenVersion) -> None:
    vectors = some_vectors()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - unit @ unit[7]
    (matches,) = opened.search(vectors[7:8] * 3, 5)
    assert [m.item_id for m in matches] == [f"item-{i}" for i in np.argsort(distances)[:5]]
    np.testing.assert_allclose([m.distance for m in matches], np.sort(distances)[:5], atol=1e-5)
    assert matches[0].metadata == {"colour": "red"}


def test_search_more_than_there_are_gives_all(opened: OpenVersion) -> None:
    (matches,) = opened.search(some_vectors()[:1], 500)
    assert len({m.item_id for m in matches}) == 60


def test_search_item_leaves_the_item_out(opened: OpenVersion) -> None:
    assert "item-7" not in [m.item_id for m in opened.search_item("item-7", 10)]


def test_vector_of_is_the_prepared_vector(opened: OpenVersion) -> None:
    vector = some_vectors()[12]
    np.testing.assert_allclose(opened.vector_of("item-12"), vector / np.linalg.norm(vector), atol=1e-6)


def test_vector_of_unknown_item_is_not_found(opened: OpenVersion) -> None:
    with pytest.raises(NotFound, match="nobody"):
        opened.vector_of("nobody")


@pytest.mark.parametrize("query", [np.zeros((1, 8)), np.full((1, 8), np.nan), np.ones((1, 9)), np.ones(8)])
def test_search_impossible_query_is_wrong_usage(opened: OpenVersion, query: np.ndarray) -> None:
    with pytest.raises(UsageError):
        opened.search(query, 3)


def test_no_match_beyond_the_calibrated_threshold(opened: OpenVersion) -> None:
    near, far = opened.search(np.stack([some_vectors()[0], -opened.vector_of("item-0")]), 1)
    assert not opened.no_match(near)
    assert opened.no_match([m for m in far if m.distance > 0.2])


def test_open_version_empty_store_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing is published"):
        open_version(str(tmp_path))


def test_lookup_searches_where_beam_and_tensorflow_cannot_be_imported(opened: OpenVersion) -> None:
    store = str(opened.folder.parent.parent)
    done = subprocess.run([sys.executable, "-c", _WITHOUT, store], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([m.item_id for m in opened.search_item("item-3", 3)])
    assert done.stderr == ""


def _requests(url: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", _READ_ONLY, url], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_open_version_of_one_and_of_30_versions_takes_the_same_requests_and_writes_nothing(tmp_path: Path) -> None:
    store, version = published_store(tmp_path, some_vectors())
    of_one = _requests(store.url)
    manifest = load_manifest(store, version)
    for number in range(30):
        version = publish(store, tmp_path / "new", replace(manifest, catalog=str(number), parent=version))
    assert _requests(store.url) == of_one == "['read', 'read']"


def test_open_version_of_what_gc_took_meanwhile_opens_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, first = published_store(tmp_path, some_vectors())
    manifest = version_folder(tmp_path / "other", some_vectors(1), parent=first)
    real, second = LocalStore.read, []

    def read(self: LocalStore, name: str) -> bytes:
        content = real(self, name)
        if name == "LATEST" and not second:
            second.append("")
            second[0] = publish(store, tmp_path / "other", manifest)
            collect(store, keep=1, min_age_seconds=0)
        return content

    monkeypatch.setattr(LocalStore, "read", read)
    assert open_version(store.url).version == second[0] != first
    with pytest.raises(NotFound):
        open_version(store.url, first)


def test_open_version_large_file_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    """Above the 64 MiB up to which files were once compared by their checksum."""
    vectors = np.random.default_rng(0).normal(size=(40, 450_000)).astype(np.float32)
    store, version = published_store(tmp_path, vectors)
    path = tmp_path / "store" / "versions" / version / "index.hnsw"
    assert path.stat().st_size > 64 * 2**20
    with path.open("r+b") as file:
        file.seek(33_000_001)
        old = file.read(1)
        file.seek(33_000_001)
        file.write(bytes([old[0] ^ 1]))
    with pytest.raises(DamagedArtefact, match=r"index\.hnsw differs from its checksum"):
        open_version(store.url)
    assert latest(store) == version


def test_more_neighbours_than_there_are_items_are_all_of_them(opened: OpenVersion) -> None:
    for queries in (some_vectors()[:1], some_vectors()[:2]):
        assert {len(found) for found in opened.search(queries, 2**40, ef_search=2**40)} == {60}
