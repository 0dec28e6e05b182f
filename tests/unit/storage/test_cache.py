"""The cache of remote versions: kept once, checked, bounded, shared by processes; a folder plays the remote store."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.lookup.open import open_version, version_folder
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage import cache as cache_module
from sim_transforms.storage.cache import VersionCache, default_root
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import load_manifest, publish
from tests.unit.browse.pages import paged_version
from tests.unit.storage.published import published_routed, some_vectors
from tests.unit.storage.published import version_folder as make_version


class AwayStore(LocalStore):
    """A folder whose files cannot be opened in place; counts the downloads."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.fetched: list[str] = []

    def download(self, name: str, path: Path) -> None:
        self.fetched.append(name.rpartition("/")[2])
        super().download(name, path)

    def local_path(self, name: str) -> Path | None:
        return None


@pytest.fixture
def store(tmp_path: Path) -> AwayStore:
    return AwayStore(str(tmp_path / "store"))


def _publish(store: AwayStore, folder: Path, seed: int, parent: str | None = None) -> tuple[str, VersionManifest]:
    manifest = make_version(folder / f"new-{seed}", some_vectors(seed), parent)
    return publish(store, folder / f"new-{seed}", manifest), manifest


def _kept(root: Path) -> int:
    """Bytes of the cached files."""
    return sum(path.stat().st_size for path in (root / "files").iterdir())


def _bytes(manifest: VersionManifest) -> int:
    return manifest.index_bytes + sum(entry.size_bytes for entry in manifest.files)


def test_hold_brings_the_files_once(store: AwayStore, tmp_path: Path) -> None:
    version, manifest = _publish(store, tmp_path, 0)
    cache = VersionCache(tmp_path / "cache")
    for _ in range(2):
        held = cache.hold(store, version, manifest)
        for name in ("index.hnsw", "items.parquet"):
            assert (held.path / name).read_bytes() == (tmp_path / "new-0" / name).read_bytes()
        held.release()
        held.release()
    assert sorted(store.fetched) == ["index.hnsw", "items.parquet"]


def test_hold_keeps_a_file_that_two_versions_share_once(store: AwayStore, tmp_path: Path) -> None:
    first, manifest = _publish(store, tmp_path, 0)
    second, child = _publish(store, tmp_path, 0, parent=first)
    cache = VersionCache(tmp_path / "cache")
    for version in (first, second):
        cache.hold(store, version, child if version == second else manifest).release()
    assert sorted(store.fetched) == ["index.hnsw", "items.parquet"]
    assert _kept(tmp_path / "cache") == _bytes(manifest)


def test_version_of_shards_keeps_its_folders(tmp_path: Path) -> None:
    published, version = published_routed(tmp_path, some_vectors())
    store = AwayStore(published.url)
    held = VersionCache(tmp_path / "cache").hold(store, version, load_manifest(store, version))
    expected = sorted(p.relative_to(tmp_path / "new") for p in (tmp_path / "new").rglob("*") if p.is_file())
    found = sorted(p.relative_to(held.path) for p in held.path.rglob("*") if p.is_file() and p.name[0] != ".")
    assert found == expected
    held.release()


def test_page_is_brought_for_those_alone_who_ask_for_it(store: AwayStore, tmp_path: Path) -> None:
    manifest = paged_version(tmp_path / "new", some_vectors())
    version = publish(store, tmp_path / "new", manifest)
    cache = VersionCache(tmp_path / "cache")
    cache.hold(store, version, manifest).release()
    assert sorted(store.fetched) == ["index.hnsw", "items.parquet"]
    held = cache.hold(store, version, manifest, with_page=True)
    page = tmp_path / "new" / "page"
    expected = {p.relative_to(page): p.read_bytes() for p in page.rglob("*") if p.is_file()}
    found = {p.relative_to(held.path / "page"): p.read_bytes() for p in (held.path / "page").rglob("*") if p.is_file()}
    assert found == expected
    held.release()
    assert open_version(store.url).version == version


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("name", ["index.hnsw", "items.parquet"])
def test_cached_file_that_was_damaged_is_brought_again(
    damage: str, name: str, store: AwayStore, tmp_path: Path
) -> None:
    version, manifest = _publish(store, tmp_path, 0)
    cache = VersionCache(tmp_path / "cache")
    cache.hold(store, version, manifest).release()
    path = tmp_path / "cache" / "versions" / version / name
    (file,) = [f for f in (tmp_path / "cache" / "files").iterdir() if f.samefile(path)]
    data = file.read_bytes()
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(data[:-3] + (bytes([data[-3] ^ 1]) + data[-2:] if damage == "flip" else b""))
    held = cache.hold(store, version, manifest)
    assert (held.path / name).read_bytes() == data
    held.release()
    assert store.fetched.count(name) == 2


@pytest.mark.parametrize("name", ["index.hnsw", "items.parquet"])
def test_file_that_differs_in_the_store_is_refused_and_not_kept(name: str, store: AwayStore, tmp_path: Path) -> None:
    version, manifest = _publish(store, tmp_path, 0)
    path = tmp_path / "store" / "versions" / version / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DamagedArtefact, match=rf"{name} differs from its manifest.*ruiji versions verify"):
        VersionCache(tmp_path / "cache").hold(store, version, manifest)
    assert list((tmp_path / "cache" / "incoming").iterdir()) == []
    assert len(list((tmp_path / "cache").rglob(name))) == 0


def test_file_that_is_missing_in_the_store_is_not_found(store: AwayStore, tmp_path: Path) -> None:
    version, manifest = _publish(store, tmp_path, 0)
    store.delete(f"versions/{version}/items.parquet")
    with pytest.raises(NotFound, match=r"items\.parquet"):
        VersionCache(tmp_path / "cache").hold(store, version, manifest)


def test_least_recently_used_version_goes_first(store: AwayStore, tmp_path: Path) -> None:
    published = [_publish(store, tmp_path, 0)]
    for seed in (1, 2):
        published.append(_publish(store, tmp_path, seed, parent=published[-1][0]))
    room = max(_bytes(manifest) for _, manifest in published)
    cache = VersionCache(tmp_path / "cache", limit_bytes=2 * room + room // 2)
    for number in (0, 1, 0, 2):  # 1 is the one that goes
        cache.hold(store, *published[number]).release()
        assert _kept(tmp_path / "cache") <= 2 * room + room // 2
    store.fetched.clear()
    cache.hold(store, *published[0]).release()
    assert store.fetched == []
    cache.hold(store, *published[1]).release()
    assert "index.hnsw" in store.fetched


def test_files_in_use_are_kept_beyond_the_limit(store: AwayStore, tmp_path: Path) -> None:
    first, manifest = _publish(store, tmp_path, 0)
    second, child = _publish(store, tmp_path, 1, parent=first)
    cache = VersionCache(tmp_path / "cache", limit_bytes=1)
    held = cache.hold(store, first, manifest)
    other = VersionCache(tmp_path / "cache", limit_bytes=1).hold(store, second, child)
    assert (held.path / "index.hnsw").read_bytes() == (tmp_path / "new-0" / "index.hnsw").read_bytes()
    assert _kept(tmp_path / "cache") == _bytes(manifest) + _bytes(child)
    held.release()
    cache.hold(store, second, child).release()
    assert _kept(tmp_path / "cache") == _bytes(child)
    other.release()


def test_open_version_holds_its_files_until_it_is_let_go(
    store: AwayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = _publish(store, tmp_path, 0)
    second, child = _publish(store, tmp_path, 1, parent=first)
    monkeypatch.setattr("sim_transforms.lookup.open.open_store", lambda url: store)
    cache = VersionCache(tmp_path / "cache", limit_bytes=1)
    opened = open_version(store.url, first, cache=cache)
    cache.hold(store, second, child).release()
    assert opened.search_item("item-3", 3)
    assert (opened.folder / "index.hnsw").is_file()
    del opened
    cache.hold(store, second, child).release()
    assert _kept(tmp_path / "cache") == _bytes(child)


def test_version_folder_of_a_remote_store_stays_until_the_process_ends(store: AwayStore, tmp_path: Path) -> None:
    version, _ = _publish(store, tmp_path, 0)
    folder = version_folder(store, version, VersionCache(tmp_path / "cache", limit_bytes=1))
    assert (folder / "index.hnsw").is_file()


def test_leftovers_of_killed_downloads_are_removed(store: AwayStore, tmp_path: Path) -> None:
    version, manifest = _publish(store, tmp_path, 0)
    incoming = tmp_path / "cache" / "incoming"
    incoming.mkdir(parents=True)
    for name in ("ab" * 32, f".tmp-1-2-{'cd' * 32}"):
        (incoming / name).write_bytes(b"left")
    VersionCache(tmp_path / "cache").hold(store, version, manifest).release()
    assert list(incoming.iterdir()) == []


def test_threads_bring_each_file_once(store: AwayStore, tmp_path: Path) -> None:
    version, manifest = _publish(store, tmp_path, 0)
    threads = [
        threading.Thread(target=lambda: VersionCache(tmp_path / "cache").hold(store, version, manifest).release())
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.fetched) == ["index.hnsw", "items.parquet"]


_READER = """
import sys
from pathlib import Path
from sim_transforms.storage.cache import VersionCache
from sim_transforms.storage.versions import load_manifest
from tests.unit.storage.test_cache import AwayStore
store = AwayStore(sys.argv[1])
versions = sys.argv[3:]
for turn in range(30):
    version = versions[turn % len(versions)]
    held = VersionCache(Path(sys.argv[2]), limit_bytes=1).hold(store, version, load_manifest(store, version))
    for name in ("index.hnsw", "items.parquet"):
        expected = (Path(sys.argv[1]) / "versions" / version / name).read_bytes()
        assert (held.path / name).read_bytes() == expected, (turn, name)
    held.release()
"""


def test_processes_that_crowd_each_other_out_read_whole_files(store: AwayStore, tmp_path: Path) -> None:
    first, _ = _publish(store, tmp_path, 0)
    second, _ = _publish(store, tmp_path, 1, parent=first)
    orders = ([first, second], [second, first], [first])
    commands = [[sys.executable, "-c", _READER, store.url, str(tmp_path / "cache"), *order] for order in orders]
    readers = [subprocess.Popen(command) for command in commands]
    assert [reader.wait() for reader in readers] == [0, 0, 0]
    assert list((tmp_path / "cache" / "incoming").iterdir()) == []


def test_cache_folder_that_cannot_be_used_is_named(store: AwayStore, tmp_path: Path) -> None:
    version, manifest = _publish(store, tmp_path, 0)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UsageError, match=r"cache .*--cache"):
        VersionCache(tmp_path / "cache").hold(store, version, manifest)


def test_disk_that_is_full_is_said(store: AwayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version, manifest = _publish(store, tmp_path, 0)

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UsageError, match=r"No space left.*free space"):
        VersionCache(tmp_path / "cache").hold(store, version, manifest)


@pytest.mark.parametrize(("given", "expected"), [("/x", "/x/ruiji"), ("", ".cache/ruiji"), ("x", ".cache/ruiji")])
def test_default_root_is_in_the_users_cache(given: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert default_root() == Path.home() / expected
    assert cache_module.DEFAULT_BYTES > 2**30
    assert os.path.isabs(VersionCache()._root)
