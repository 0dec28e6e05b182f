"""What every object store does, whichever it is: local folders, and Google Cloud Storage by fake-gcs-server."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.storage.checksums import crc32c_of
from sim_transforms.storage.gcs import GcsStore
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.object_store import ObjectStore
from tests.contracts.gcs_server import BUCKET

# More than one chunk of the client's 1 MiB here, and more than the 8 MiB up to which it sends an object at once.
LARGE = np.random.default_rng(0).bytes(9 * 2**20 + 77)


def _local(request: pytest.FixtureRequest) -> Callable[[], ObjectStore]:
    root = request.getfixturevalue("tmp_path") / "store"
    return lambda: LocalStore(str(root))


def _gcs(request: pytest.FixtureRequest) -> Callable[[], ObjectStore]:
    request.getfixturevalue("gate")
    url = f"gs://{BUCKET}/{request.getfixturevalue('tmp_path').name}"
    return lambda: GcsStore(url, patience_seconds=20, chunk_bytes=2**20)


@pytest.fixture(params=[_local, _gcs], ids=["local", "gcs"])
def opened(request: pytest.FixtureRequest) -> Callable[[], ObjectStore]:
    """Opens the same store anew with each call."""
    return request.param(request)


@pytest.fixture
def store(opened: Callable[[], ObjectStore]) -> ObjectStore:
    return opened()


def test_read_gives_back_what_was_written_last(store: ObjectStore) -> None:
    store.write("a/b", b"first")
    store.write("a/b", b"")
    assert store.read("a/b") == b""
    store.write("a/b", b"last")
    assert store.read("a/b") == b"last"


@pytest.mark.parametrize("name", ["a b/ü%2F?#[x]*", "LATEST", "versions/0123/shards/00000.hnsw"])
def test_names_of_all_kinds_are_kept(name: str, store: ObjectStore) -> None:
    store.write(name, b"x")
    assert store.read(name) == b"x"
    assert [found.name for found in store.list("")] == [name]
    info = store.info(name)
    assert info is not None
    assert (info.name, info.size_bytes) == (name, 1)
    store.delete(name)
    assert store.info(name) is None


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "", "a//b", "a/", ".lock", "a/.b", "a\0b", "a\nb", "\ud800"])
def test_names_that_are_odd_are_refused(name: str, store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    calls: list[Callable[[], object]] = [
        lambda: store.read(name),
        lambda: store.write(name, b"x"),
        lambda: store.upload(tmp_path / "f", name),
        lambda: store.download(name, tmp_path / "g"),
        lambda: store.info(name),
        lambda: store.delete(name),
        lambda: store.compare_and_swap(name, b"x", None),
        lambda: store.compose([name], "target"),
        lambda: store.compose(["source"], name),
    ]
    store.write("source", b"x")
    for call in calls:
        with pytest.raises(UsageError, match="object name"):
            call()
    assert [found.name for found in store.list("")] == ["source"]


def test_objects_that_are_missing_are_not_found(store: ObjectStore, tmp_path: Path) -> None:
    store.write("there", b"x")
    assert store.info("a/b") is None
    for call in (
        lambda: store.read("a/b"),
        lambda: store.download("a/b", tmp_path / "f"),
        lambda: store.delete("a/b"),
        lambda: store.compose(["there", "a/b"], "target"),
    ):
        with pytest.raises(NotFound, match="holds no a/b"):
            call()
    assert not (tmp_path / "f").exists()
    assert store.info("target") is None


@pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_upload_and_download_give_the_same_file(content: bytes, store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    store.upload(tmp_path / "f", "a/f")
    store.download("a/f", tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["f", "g"]


@pytest.mark.parametrize(("offset", "size"), [(0, 10), (5, 0), (77, 9 * 2**20), (len(LARGE), None), (3, None)])
def test_upload_of_a_range_takes_that_range(offset: int, size: int | None, store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(LARGE)
    store.upload(tmp_path / "f", "part", offset, size)
    assert store.read("part") == LARGE[offset : None if size is None else offset + size]


def test_upload_of_a_range_past_the_end_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(DamagedArtefact, match="holds 3 bytes"):
        store.upload(tmp_path / "f", "part", 2, 2)
    assert store.info("part") is None


def test_info_tells_size_and_age_and_a_generation_that_changes(store: ObjectStore) -> None:
    before = time.time() - 2
    store.write("a", b"one")
    first = store.info("a")
    store.write("a", b"three")
    second = store.info("a")
    assert first is not None
    assert second is not None
    assert (first.size_bytes, second.size_bytes) == (3, 5)
    assert first.generation != second.generation
    assert before <= first.created_seconds <= second.created_seconds <= time.time() + 2


def test_list_names_objects_of_a_prefix_in_order(store: ObjectStore) -> None:
    for name in ("versions/b/x", "versions/a/y", "versions/a/x", "LATEST", "versions-old/a"):
        store.write(name, b"xx")
    assert [found.name for found in store.list("versions/")] == ["versions/a/x", "versions/a/y", "versions/b/x"]
    assert [found.name for found in store.list("versions/a/x")] == ["versions/a/x"]
    assert [found.size_bytes for found in store.list("versions")] == [2] * 4
    assert store.list("nothing/") == []


def test_list_stays_within_the_store(store: ObjectStore) -> None:
    with pytest.raises(UsageError):
        store.list("../")


def test_delete_removes_one_object(store: ObjectStore) -> None:
    store.write("a/x", b"x")
    store.write("a/y", b"y")
    store.delete("a/x")
    assert [found.name for found in store.list("")] == ["a/y"]
    with pytest.raises(NotFound):
        store.delete("a/x")


@pytest.mark.parametrize("count", [1, 2, 33, 70])
def test_compose_joins_in_order_and_leaves_nothing_else(count: int, store: ObjectStore, tmp_path: Path) -> None:
    parts = [b"part %d" % number * (number % 3) for number in range(count)]
    for number, part in enumerate(parts):
        store.write(f"parts/{number:02d}", part)
    (tmp_path / "whole").write_bytes(b"".join(parts))
    names = [f"parts/{number:02d}" for number in range(count)]
    for _ in range(2):  # again over what is there
        store.compose(names, "a/whole", crc32c_of(tmp_path / "whole"))
        assert store.read("a/whole") == b"".join(parts)
    assert [found.name for found in store.list("")] == ["a/whole", *names]


def test_compose_takes_an_object_twice_and_may_replace_a_source(store: ObjectStore) -> None:
    store.write("a", b"1")
    store.compose(["a", "a"], "a")
    store.compose(["a", "a"], "a")
    assert store.read("a") == b"1111"


def test_compose_to_another_checksum_is_refused_and_changes_nothing(store: ObjectStore) -> None:
    for name in ("a", "b", "whole"):
        store.write(name, name.encode())
    with pytest.raises(DamagedArtefact, match="the parts of whole together have the CRC32C"):
        store.compose(["a", "b"], "whole", "AAAAAA==")
    assert store.read("whole") == b"whole"
    assert [found.name for found in store.list("")] == ["a", "b", "whole"]


def test_compose_of_nothing_is_refused(store: ObjectStore) -> None:
    with pytest.raises(UsageError, match="no objects"):
        store.compose([], "whole")


def test_compare_and_swap_writes_over_the_expected_generation_alone(store: ObjectStore) -> None:
    assert store.compare_and_swap("LATEST", b"one", None)
    assert not store.compare_and_swap("LATEST", b"two", None)
    first = store.info("LATEST")
    assert first is not None
    assert store.compare_and_swap("LATEST", b"two", first.generation)
    assert not store.compare_and_swap("LATEST", b"three", first.generation)
    assert store.read("LATEST") == b"two"
    store.delete("LATEST")
    assert not store.compare_and_swap("LATEST", b"three", first.generation)
    assert store.compare_and_swap("LATEST", b"three", None)


@pytest.mark.parametrize("create", [True, False])
def test_compare_and_swap_of_8_threads_has_one_winner(
    create: bool, opened: Callable[[], ObjectStore], store: ObjectStore
) -> None:
    for round_number in range(3):
        name = f"pointer-{round_number}"
        if not create:
            store.write(name, b"start")
        found = store.info(name)
        assert _race(opened, name, None if found is None else found.generation) == store.read(name)


def _race(opened: Callable[[], ObjectStore], name: str, expected: str | None) -> bytes:
    """Content of the one winner."""
    barrier, wins = threading.Barrier(8), [False] * 8

    def swap(place: int) -> None:
        mine = opened()
        barrier.wait()
        wins[place] = mine.compare_and_swap(name, b"%d" % place, expected)

    threads = [threading.Thread(target=swap, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(wins) == 1
    return b"%d" % wins.index(True)


def test_local_path_is_the_file_or_null(store: ObjectStore) -> None:
    store.write("a", b"x")
    path = store.local_path("a")
    assert path is None if store.url.startswith("gs://") else path is not None and path.read_bytes() == b"x"
