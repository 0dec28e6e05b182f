"""1,000 seeded corruptions: verify names every damaged file, and opening refuses all that touch what it reads."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import load_manifest, object_name, publish
from tests.contracts.stores import Made, rounds_on
from tests.unit.storage.published import routed_folder, some_vectors, version_folder

VECTORS = some_vectors(items=48)
KINDS = ("flip", "cut", "swap", "remove", "older manifest")


@dataclass(frozen=True)
class Published:
    """A version, its objects by file name, and the manifest of the version before it."""

    version: str
    content: dict[str, bytes]
    older_manifest: bytes


@pytest.fixture(scope="session")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("routed")
    return Made(folder, routed_folder(folder, VECTORS, probe=9))


def _published(store: ObjectStore, made: Made, older: Made) -> Published:
    """The newer of two versions of different files."""
    before = publish(store, older.folder, older.named("older", None))
    version = publish(store, made.folder, made.named("newer", before))
    start = object_name(version, "")
    names = [info.name for info in store.list(start)]
    content = {name.removeprefix(start): store.read(name) for name in names}
    return Published(version, content, store.read(object_name(before, "manifest.json")))


def _corrupt(published: Published, kind: str, draws: random.Random) -> dict[str, bytes | None]:
    """New content of the files that are damaged; null: removed."""
    name, other = draws.sample(sorted(published.content), 2)
    data = published.content[name]
    if kind == "flip":
        place = draws.randrange(len(data))
        return {name: data[:place] + bytes([data[place] ^ (1 << draws.randrange(8))]) + data[place + 1 :]}
    if kind == "cut":
        return {name: data[: draws.randrange(len(data))]}
    if kind == "swap":
        return {name: published.content[other], other: data}
    if kind == "remove":
        return {name: None}
    return {"manifest.json": published.older_manifest}


def _write(store: ObjectStore, version: str, files: dict[str, bytes | None]) -> None:
    for name, data in files.items():
        if data is None:
            store.delete(object_name(version, name))
        else:
            store.write(object_name(version, name), data)


@pytest.mark.parametrize(("layout", "count"), [("merged", 700), ("routed", 300)])
def test_corruptions_are_named_and_refused(
    layout: str,
    count: int,
    store: ObjectStore,
    made: Made,
    routed: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = Made(tmp_path, version_folder(tmp_path, some_vectors(3, 40)))
    published = _published(store, made if layout == "merged" else routed, older)
    draws = random.Random(11)
    for number in range(rounds_on(store, count, count // 10)):
        kind = KINDS[number % len(KINDS)]
        damage = _corrupt(published, kind, draws)
        _write(store, published.version, damage)
        told = (number, kind, sorted(damage))
        # What a cache of a remote store holds is whole; it is the store that must be refused.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{number}"))
        problems = verify_version(store, published.version)
        assert all(any(name in problem for problem in problems) for name in damage), (told, problems)
        with pytest.raises((DamagedArtefact, NotFound)):
            open_version(store.url).search(VECTORS[:3], 5)
        _write(store, published.version, {name: published.content[name] for name in damage})
    assert verify_version(store, published.version) == []
    assert open_version(store.url).search(VECTORS[:3], 5)


def test_verify_names_all_of_several_damages(store: ObjectStore, routed: Made, made: Made) -> None:
    published = _published(store, routed, made)
    data = published.content
    _write(
        store,
        published.version,
        {
            "items.parquet": data["items.parquet"][:-1],
            "centroids.npy": data["longest.npy"],
            "longest.npy": data["centroids.npy"],
            "shards/000000.hnsw": None,
            "shards/000001.hnsw": b"x" + data["shards/000001.hnsw"][1:],
            "shards/000099.hnsw": b"surplus",
        },
    )
    problems = verify_version(store, published.version)
    expected = [
        "shards/000099.hnsw is no file of this version",
        "shards/000000.hnsw is missing",
        "shards/000001.hnsw differs from its checksum",
        "it holds the content of longest.npy",
        "items.parquet holds",
        "it holds the content of centroids.npy",
    ]
    assert len(problems) == len(expected)
    assert all(any(text in problem for problem in problems) for text in expected), problems


def test_verify_of_an_older_manifest_says_whose_it_is_and_which_files_are_not_its(
    store: ObjectStore, made: Made, tmp_path: Path
) -> None:
    older = Made(tmp_path, version_folder(tmp_path, some_vectors(3, 40)))
    published = _published(store, made, older)
    _write(store, published.version, {"manifest.json": published.older_manifest})
    first, *others = verify_version(store, published.version)
    assert "manifest.json was changed" in first
    assert "another version of this store" in first
    assert [problem.split()[0] for problem in others] == ["index.hnsw", "items.parquet"]


def test_verify_of_a_version_that_is_not_there(store: ObjectStore, made: Made) -> None:
    published = _published(store, made, made)
    assert "manifest.json is missing" in verify_version(store, "0" * 16)[0]
    _write(store, published.version, {"manifest.json": b"{}"})
    assert len(verify_version(store, published.version)) == 2


def test_verify_does_not_follow_a_changed_manifest_out_of_its_folder(store: ObjectStore, made: Made) -> None:
    published = _published(store, made, made)
    manifest = load_manifest(store, published.version)
    outside = replace(manifest, files=(replace(manifest.files[0], name="../../LATEST"),))
    _write(store, published.version, {"manifest.json": outside.text().encode()})
    assert any("outside its folder" in problem for problem in verify_version(store, published.version))


def test_verify_reads_every_file_once(store: ObjectStore, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from sim_transforms.lookup import verify

    published, read = _published(store, made, made), []

    def counting(real: Callable[..., object], name_of: Callable[..., str]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            read.append(name_of(*arguments))
            return real(*arguments)

        return counted

    monkeypatch.setattr(verify, "file_entry", counting(verify.file_entry, lambda _, name: name))
    monkeypatch.setattr(verify, "index_file", counting(verify.index_file, lambda path, _: path.name))
    assert verify_version(store, published.version) == []
    assert sorted(read) == ["index.hnsw", "items.parquet"]
