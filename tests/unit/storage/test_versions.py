"""Publishing: whole versions only, LATEST last, damage named, losers told."""

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sim_transforms.errors import DamagedArtefact, PublishConflict, UsageError
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, list_versions, load_manifest, publish
from tests.unit.storage.published import published_store, some_vectors, version_folder

_KILLED = """
import os, signal, sys
from pathlib import Path
real, seen = os.replace, []
def replace(a, b):
    seen.append(b)
    if len(seen) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(a, b)
os.replace = replace
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish
folder = Path(sys.argv[2])
publish(LocalStore(sys.argv[3]), folder, VersionManifest.parse((folder / "planned.json").read_text(), "planned"))
"""


def test_publish_new_version_is_latest_and_whole(tmp_path: Path) -> None:
    store, version = published_store(tmp_path, some_vectors())
    assert latest(store) == version
    assert [(v.version, v.is_latest) for v in list_versions(store)] == [(version, True)]
    assert verify_version(store, version) == []


def test_publish_again_is_the_same_version(tmp_path: Path) -> None:
    store, version = published_store(tmp_path, some_vectors())
    assert publish(store, tmp_path / "new", load_manifest(store, version)) == version


def test_publish_after_another_moved_latest_is_a_conflict(tmp_path: Path) -> None:
    store, version = published_store(tmp_path, some_vectors())
    other = version_folder(tmp_path / "other", some_vectors(1))
    with pytest.raises(PublishConflict, match=version):
        publish(store, tmp_path / "other", other)
    assert latest(store) == version
    assert publish(store, tmp_path / "other", replace(other, parent=version)) == latest(store)


def test_publish_files_that_are_not_the_manifests_are_refused(tmp_path: Path) -> None:
    manifest = version_folder(tmp_path / "new", some_vectors())
    path = tmp_path / "new" / "items.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    store = LocalStore(str(tmp_path / "store"))
    with pytest.raises(DamagedArtefact, match=r"items\.parquet"):
        publish(store, tmp_path / "new", manifest)
    assert latest(store) is None


@pytest.mark.parametrize("step", range(1, 5))
def test_publish_killed_at_each_rename_leaves_the_old_version_and_heals(step: int, tmp_path: Path) -> None:
    store, old = published_store(tmp_path, some_vectors())
    planned = version_folder(tmp_path / "next", some_vectors(1), parent=old)
    (tmp_path / "next" / "planned.json").write_text(planned.text())
    arguments = [sys.executable, "-c", _KILLED, str(step), str(tmp_path / "next"), store.url]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert latest(store) == old
    assert all(verify_version(store, found.version) == [] for found in list_versions(store))
    assert publish(store, tmp_path / "next", planned) == latest(store) != old


def _swap(url: str, barrier: object, wins: object, place: int) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    wins[place] = LocalStore(url).compare_and_swap("LATEST", b"%d" % place, None)  # type: ignore[index]


def test_compare_and_swap_of_8_processes_has_one_winner(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(8), context.Array("b", 8)
    children = [context.Process(target=_swap, args=(str(tmp_path / "store"), barrier, wins, i)) for i in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert sum(wins) == 1
    assert (tmp_path / "store" / "LATEST").read_bytes() == b"%d" % list(wins).index(1)


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "", "a//b", ".lock", "a\0b"])
def test_store_names_that_leave_it_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        LocalStore(str(tmp_path)).write(name, b"x")


def test_load_manifest_changed_content_is_refused(tmp_path: Path) -> None:
    store, version = published_store(tmp_path, some_vectors())
    path = tmp_path / "store" / "versions" / version / "manifest.json"
    path.write_text(path.read_text().replace('"ef_search": 50', '"ef_search": 10'))
    with pytest.raises(DamagedArtefact, match="was changed"):
        load_manifest(store, version)
    assert verify_version(store, version)


@pytest.mark.parametrize("name", ["index.hnsw", "items.parquet"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_open_version_damaged_file_is_refused_and_named(name: str, damage: str, tmp_path: Path) -> None:
    store, version = published_store(tmp_path, some_vectors())
    path = tmp_path / "store" / "versions" / version / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        os.unlink(path)
    else:
        path.write_bytes(bytes(data) if damage == "flip" else bytes(data[:-5]))
    with pytest.raises(DamagedArtefact, match=name):
        open_version(store.url)
    assert any(name in problem for problem in verify_version(store, version))
