"""Versions in a bucket: published by parts, opened through the cache, verified at the store, used by the commands."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import numpy as np
import pytest

from pipelines.cli import main
from sim_transforms.errors import DamagedArtefact, NotFound, StoreError
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage.cache import VersionCache
from sim_transforms.storage.checksums import index_file
from sim_transforms.storage.gcs import GcsStore
from sim_transforms.storage.side_by_side import side_by_side
from sim_transforms.storage.versions import MANIFEST, latest, list_versions, object_name, publish, version_id
from tests.contracts.gcs_server import BUCKET, Answer, Gate, Request
from tests.unit.browse.pages import paged_version
from tests.unit.hnsw.clouds import clustered
from tests.unit.storage.published import routed_folder, some_vectors, version_folder

IN_PROCESS = ["--runner=FnApiRunner", "--direct_running_mode=in_memory"]


def _published(store: GcsStore, folder: Path) -> tuple[str, VersionManifest]:
    manifest = version_folder(folder / "new", some_vectors())
    return publish(store, folder / "new", manifest), manifest


def _in_parts(folder: Path, manifest: VersionManifest, parts: int) -> VersionManifest:
    """The same version, its index.hnsw described by so many parts, one of them empty."""
    assert manifest.index is not None
    size = manifest.index.size_bytes // parts
    sizes = [size] * (parts - 1) + [0, manifest.index.size_bytes - size * (parts - 1)]
    return replace(manifest, index=index_file(folder / "index.hnsw", sizes))


def _names(store: GcsStore) -> list[str]:
    return [found.name.rpartition("/")[2] for found in store.list("")]


def _stored(gate: Gate, store: GcsStore, name: str) -> Path:
    """The file in which the server keeps an object."""
    return gate.folder / store.url.removeprefix("gs://") / name


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_publish_puts_the_index_together_from_its_parts(parts: int, gcs: GcsStore, gate: Gate, tmp_path: Path) -> None:
    manifest = _in_parts(tmp_path / "new", version_folder(tmp_path / "new", some_vectors()), parts)
    sent: list[int] = []
    gate.before = lambda request: sent.append(len(request.body)) if "/upload/" in request.path else None
    version = publish(gcs, tmp_path / "new", manifest)
    assert manifest.index is not None
    assert sum(path.endswith("/compose") for _, path in gate.seen) == (1 if parts <= 32 else 3)
    assert len(sent) == parts + 5  # items.parquet, the manifest, LATEST, and the lease twice
    assert max(sent) < manifest.index.size_bytes
    assert _names(gcs) == ["LATEST", "index.hnsw", "items.parquet", "manifest.json"]
    assert gcs.read(f"versions/{version}/index.hnsw") == (tmp_path / "new" / "index.hnsw").read_bytes()
    assert verify_version(gcs, version) == []


def test_publish_of_shards_uploads_each_file(gcs: GcsStore, tmp_path: Path) -> None:
    vectors = some_vectors()
    version = publish(gcs, tmp_path / "new", routed_folder(tmp_path / "new", vectors))
    assert verify_version(gcs, version) == []
    opened = open_version(gcs.url, probe=100, memory_budget_mib=1)
    assert [m[0].item_id for m in opened.search(vectors[:5], 1)] == [f"item-{i}" for i in range(5)]


def test_page_has_the_types_that_browsers_need_and_is_not_fetched_to_search(
    gcs: GcsStore, gate: Gate, tmp_path: Path
) -> None:
    manifest = paged_version(tmp_path / "new", some_vectors(), lambda item_id, digest: b"png")
    version = publish(gcs, tmp_path / "new", manifest)
    types = {}
    for entry in manifest.files:
        if entry.name.startswith("page/"):
            url = f"{gate.url}/{gcs.url.removeprefix('gs://')}/versions/{version}/{entry.name}"
            # As a browser asks for a public object.
            with urlopen(UrlRequest(url, headers={"Host": "storage.googleapis.com"})) as answer:
                types[entry.name] = answer.headers["Content-Type"]
                assert answer.read() == (tmp_path / "new" / entry.name).read_bytes()
    assert types == {
        "page/app.js": "text/javascript; charset=utf-8",
        "page/ids.js": "text/javascript; charset=utf-8",
        "page/index.html": "text/html; charset=utf-8",
        "page/pictures/000000.js": "text/javascript; charset=utf-8",
        "page/rows/000000.js": "text/javascript; charset=utf-8",
        "page/style.css": "text/css; charset=utf-8",
    }
    gate.reset()
    open_version(gcs.url)
    assert not [path for _, path in gate.seen if "%2Fpage%2F" in path]
    assert verify_version(gcs, version) == []
    gcs.write(f"versions/{version}/page/app.js", b"alert(1)")
    assert [problem.split(" ")[0] for problem in verify_version(gcs, version)] == ["page/app.js"]
    assert gcs._existing(f"versions/{version}/page/app.js").content_type == "text/javascript; charset=utf-8"


def test_publish_again_is_the_same_version(gcs: GcsStore, tmp_path: Path) -> None:
    version, manifest = _published(gcs, tmp_path)
    assert publish(gcs, tmp_path / "new", manifest) == version
    assert [found.is_latest for found in list_versions(gcs)] == [True]


def test_open_version_answers_as_from_a_folder_and_again_from_the_cache(
    gcs: GcsStore, gate: Gate, tmp_path: Path
) -> None:
    version, _ = _published(gcs, tmp_path)
    opened = open_version(gcs.url)
    assert opened.version == version
    found = opened.search(some_vectors()[:10], 1)
    assert [matches[0].item_id for matches in found] == [f"item-{i}" for i in range(10)]
    gate.reset()
    assert open_version(gcs.url).search(some_vectors()[:10], 1) == found
    assert len(gate.seen) == 2  # LATEST and the manifest
    assert opened.folder.is_relative_to(tmp_path / "cache" / "ruiji")


def test_open_version_of_an_empty_prefix_is_not_found(gcs: GcsStore) -> None:
    with pytest.raises(NotFound, match="nothing is published there"):
        open_version(gcs.url)


def test_open_version_takes_as_many_requests_with_100_versions_as_with_one(
    gcs: GcsStore, gate: Gate, tmp_path: Path
) -> None:
    first, manifest = _published(gcs, tmp_path)
    gate.reset()
    open_version(gcs.url, cache=VersionCache(tmp_path / "one"))
    alone = list(gate.seen)
    children = [replace(manifest, catalog=str(number), parent=first) for number in range(98)]
    side_by_side(lambda m: gcs.write(object_name(version_id(m.text()), MANIFEST), m.text().encode()), children)
    publish(gcs, tmp_path / "new", replace(manifest, parent=first))
    assert len(list_versions(gcs)) == 100
    gate.reset()
    open_version(gcs.url, cache=VersionCache(tmp_path / "hundred"))
    assert len(gate.seen) == len(alone) == 4  # LATEST, the manifest, and two files
    assert all(method == "GET" and "/o/" in path for method, path in gate.seen)


@pytest.mark.parametrize("name", ["index.hnsw", "items.parquet"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_in_the_store_is_verified_and_refused_whatever_the_cache_holds(
    damage: str, name: str, gcs: GcsStore, gate: Gate, tmp_path: Path
) -> None:
    version, _ = _published(gcs, tmp_path)
    open_version(gcs.url)
    path = _stored(gate, gcs, f"versions/{version}/{name}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        gcs.delete(f"versions/{version}/{name}")
    else:
        # Written in place, because the server keeps its checksums with the file.
        path.write_bytes(bytes(data) if damage == "flip" else bytes(data[:-5]))
    assert [problem.split(" ")[0] for problem in verify_version(gcs, version)] == [name]
    with pytest.raises((DamagedArtefact, NotFound), match=name):
        open_version(gcs.url, cache=VersionCache(tmp_path / "empty"))


def test_every_damaged_file_is_named_at_once(gcs: GcsStore, tmp_path: Path) -> None:
    version, manifest = _published(gcs, tmp_path)
    gcs.write(f"versions/{version}/index.hnsw", b"other content, with a checksum of its own")
    gcs.delete(f"versions/{version}/items.parquet")
    assert verify_version(gcs, version) == [
        f"index.hnsw holds 41 bytes, the manifest says {manifest.index_bytes}",
        "items.parquet is missing",
    ]
    with pytest.raises(StoreError):
        verify_version(GcsStore("gs://elsewhere"), version)


def _at_request(gate: Gate, number: int, action: Callable[[], Answer | None]) -> None:
    """Acts before the store sees one of the writing requests."""
    writes: list[Request] = []

    def before(request: Request) -> Answer | None:
        if request.method == "GET":
            return None
        writes.append(request)
        return action() if len(writes) == number else None

    gate.before = before


# Three parts, compose, three deletions, items.parquet, the manifest, LATEST.
@pytest.mark.parametrize("step", range(1, 11))
def test_publish_to_a_server_killed_at_each_write_shows_whole_versions_alone_and_heals(
    step: int, gcs: GcsStore, gate: Gate, tmp_path: Path
) -> None:
    old, _ = _published(gcs, tmp_path)
    manifest = _in_parts(tmp_path / "next", version_folder(tmp_path / "next", some_vectors(1), parent=old), 3)
    _at_request(gate, step, gate.kill_server)
    try:
        with pytest.raises(StoreError, match="does not answer"):
            publish(GcsStore(gcs.url, patience_seconds=0.5), tmp_path / "next", manifest)
    finally:
        gate.reset()
        gate.server.start()
    assert latest(gcs) == old
    assert all(verify_version(gcs, found.version) == [] for found in list_versions(gcs))
    new = publish(gcs, tmp_path / "next", manifest)
    assert latest(gcs) == new != old
    assert verify_version(gcs, new) == []
    assert not [name for name in _names(gcs) if ".part-" in name or ".join-" in name]


@pytest.mark.parametrize("step", range(1, 11))
def test_publish_through_a_restart_at_each_write_succeeds(step: int, gcs: GcsStore, gate: Gate, tmp_path: Path) -> None:
    manifest = _in_parts(tmp_path / "new", version_folder(tmp_path / "new", some_vectors()), 3)
    _at_request(gate, step, gate.restart_server)
    version = publish(gcs, tmp_path / "new", manifest)
    assert verify_version(gcs, version) == []
    assert len(_names(gcs)) == 4


def test_publish_whose_parts_are_refused_deletes_them(gcs: GcsStore, gate: Gate, tmp_path: Path) -> None:
    manifest = _in_parts(tmp_path / "new", version_folder(tmp_path / "new", some_vectors()), 3)
    gate.before = lambda request: Answer(403) if "/compose" in request.path else None
    with pytest.raises(StoreError, match="no permission"):
        publish(gcs, tmp_path / "new", manifest)
    assert _names(gcs) == []


def test_commands_index_search_and_verify_a_bucket(
    gate: Gate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, vectors = f"gs://{BUCKET}/{tmp_path.name}/vectors", clustered(300, 8)
    np.save(tmp_path / "v.npy", vectors)
    np.save(tmp_path / "q.npy", vectors[17])
    flags = ["--embeddings", str(tmp_path / "v.npy"), "--set", "index.shard_items=100", "--workdir"]
    assert main(["index", *flags, str(tmp_path / "work"), "--store", store, "--json", *IN_PROCESS]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["items"] == 300
    assert main(["index", *flags, str(tmp_path / "work"), "--store", store, "--json", *IN_PROCESS]) == 0
    again = capsys.readouterr()
    assert "index: unchanged, skipped" in again.err
    assert json.loads(again.out.splitlines()[-1]) == summary
    search = ["search", "--store", store, "--vector", str(tmp_path / "q.npy"), "--k", "3", "--json"]
    assert main([*search, "--cache", str(tmp_path / "mine")]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["version"], found["matches"][0]["item_id"]) == (summary["version"], "17")
    assert any((tmp_path / "mine" / "files").iterdir())
    assert not (tmp_path / "cache").exists()
    assert main(["versions", "verify", "--store", store]) == 0
    assert main(["versions", "list", "--store", store]) == 0
    assert summary["version"] in capsys.readouterr().out
    assert any(path.endswith("/compose") for _, path in gate.seen)


def test_command_on_a_missing_bucket_ends_with_1_and_says_so(
    gate: Gate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "--store", "gs://elsewhere/a", "--item", "a"]) == 1
    assert "there is no such bucket" in capsys.readouterr().err
