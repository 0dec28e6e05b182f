"""Remote catalogs and media: which uris they name, how seldom they are asked for, and how media come here."""

import contextlib
import threading
import time
from pathlib import Path

import pytest

from sim_transforms.errors import CatalogError, MediaError
from sim_transforms.media.catalog import catalog_stat_digest, plan_catalog, read_part
from sim_transforms.media.fetch_ahead import FetchAhead, read_anywhere
from sim_transforms.media.remote import RemoteFiles, Statuses, is_remote
from sim_transforms.records.items import FailedItem
from tests.unit.media.shelf import Shelf

CATALOG = "shelf://bucket/dir/catalog.csv"


def _resolved(source: str, uri: str, allow_outside: bool, files: RemoteFiles) -> str:
    """The uri of the one row of a catalog, or why it is rejected."""
    plan = plan_catalog(source, allow_outside, files)
    (found,) = read_part(plan, plan.parts[0], 0, files)
    return found.reason if isinstance(found, FailedItem) else found.uri


@pytest.mark.parametrize(
    ("uri", "inside", "outside"),
    [
        ("a/b.jpg", "shelf://bucket/dir/a/b.jpg", "shelf://bucket/dir/a/b.jpg"),
        ("./a//b.jpg", "shelf://bucket/dir/a/b.jpg", "shelf://bucket/dir/a/b.jpg"),
        ("a/../b ü%20#?.jpg", "shelf://bucket/dir/b ü%20#?.jpg", "shelf://bucket/dir/b ü%20#?.jpg"),
        ("../b.jpg", "outside_catalog", "shelf://bucket/b.jpg"),
        ("../../b.jpg", "outside_catalog", "outside_catalog"),
        ("shelf://bucket/dir/a.jpg", "shelf://bucket/dir/a.jpg", "shelf://bucket/dir/a.jpg"),
        ("shelf://bucket/dir/../a.jpg", "outside_catalog", "shelf://bucket/dir/../a.jpg"),
        ("shelf://bucket/dir2/a.jpg", "outside_catalog", "shelf://bucket/dir2/a.jpg"),
        ("shelf://other/dir/a.jpg", "outside_catalog", "shelf://other/dir/a.jpg"),
        ("/etc/passwd", "outside_catalog", "/etc/passwd"),
        ("file:///a.jpg", "outside_catalog", "/a.jpg"),
        ("tar:///a.tar?offset=512&size=9", "outside_catalog", "tar:///a.tar?offset=512&size=9"),
        ("http://host/a.jpg", "unsupported_uri", "unsupported_uri"),
        ("SHELF://bucket/dir/a.jpg", "unsupported_uri", "unsupported_uri"),
    ],
)
def test_uris_of_a_remote_catalog_stay_below_its_folder(uri: str, inside: str, outside: str) -> None:
    files = Shelf({CATALOG: f'item_id,uri\nx,"{uri}"\n'.encode()})
    assert _resolved(CATALOG, uri, False, files) == inside
    assert _resolved(CATALOG, uri, True, files) == outside


def test_prefixes_with_empty_names_are_kept() -> None:
    files = Shelf({"shelf://b/x//y/c.csv": b"item_id,uri\nx,../a.jpg\n"})
    assert _resolved("shelf://b/x//y/c.csv", "", True, files) == "shelf://b/x//a.jpg"


def test_uris_of_a_local_catalog_leave_it_by_a_scheme(tmp_path: Path) -> None:
    path, files = tmp_path / "c.csv", Shelf({})
    path.write_text("item_id,uri\nx,shelf://b/a.jpg\n")
    assert _resolved(str(path), "", False, files) == "outside_catalog"
    assert _resolved(str(path), "", True, files) == "shelf://b/a.jpg"
    plan = plan_catalog(str(path), True)
    (found,) = read_part(plan, plan.parts[0], 0)
    assert isinstance(found, FailedItem)
    assert found.reason == "unsupported_uri"


@pytest.mark.parametrize("uri", ["/a/b.jpg", "a.jpg", "file:///a", "tar:///a.tar?offset=1", "zip:///a", "C:/a", ""])
def test_paths_and_members_are_not_remote(uri: str) -> None:
    assert not is_remote(uri)


def test_folder_gives_classes_in_the_order_of_names_without_hidden_ones() -> None:
    names = ("dogs/deep/2.jpg", "cats/1.jpg", "top.jpg", ".git/x.jpg", "cats/.hidden", "cats/.a/x.jpg")
    files = Shelf({f"shelf://b/all/{name}": b"x" for name in names})
    plan = plan_catalog("shelf://b/all/", False, files)
    found = list(read_part(plan, plan.parts[0], 0, files))
    assert not any(isinstance(entry, FailedItem) for entry in found)
    assert [(e.item_id, e.label) for e in found] == [("cats/1.jpg", "cats"), ("dogs/deep/2.jpg", "dogs")]


def test_catalog_that_goes_while_the_job_runs_fails_it() -> None:
    files = Shelf({CATALOG: b"item_id,uri\nx,a.jpg\n"})
    plan = plan_catalog(CATALOG, False, files)
    files.files.clear()
    with pytest.raises(CatalogError, match="there is no such file"):
        list(read_part(plan, plan.parts[0], 0, files))


def test_stat_digest_lists_a_large_folder_once_and_sees_every_change() -> None:
    rows = "".join(f"{n},a/{n}.jpg\n" for n in range(200))
    files = Shelf({CATALOG: f"item_id,uri\n{rows}".encode()})
    files.files.update({f"shelf://bucket/dir/a/{n}.jpg": b"x" for n in range(199)})

    def digest() -> str:
        return catalog_stat_digest(plan_catalog(CATALOG, False, files), files)

    before = digest()
    assert (files.asked["status"], files.asked["list"]) == (20, 1)
    assert digest() == before
    seen = {before}
    for change in ({"a/7.jpg": b"y"}, {"a/7.jpg": b"yy"}, {"a/199.jpg": b"x"}, {"catalog.csv": b"item_id,uri\n"}):
        files.files.update({f"shelf://bucket/dir/{name}": data for name, data in change.items()})
        seen.add(digest() if "catalog.csv" not in change else "")
    assert len(seen) == 5


def test_stat_digest_of_a_folder_lists_it_twice_and_asks_for_no_file() -> None:
    files = Shelf({f"shelf://b/all/{n % 40}/{n}.jpg": b"x" for n in range(400)})
    plan = plan_catalog("shelf://b/all", False, files)
    files.asked.clear()
    catalog_stat_digest(plan, files)
    assert files.asked == {"list": 2}


def test_folders_beside_each_other_are_listed_at_their_first_file() -> None:
    files = Shelf({f"shelf://b/all/{n // 10}/{n}.jpg": b"x" for n in range(400)})
    statuses = Statuses(files)
    assert all(statuses.of(uri) for uri in files.files)
    assert (files.asked["status"], files.asked["list"]) == (20, 38)


def test_statuses_keep_so_many_files_and_ask_for_the_others() -> None:
    files = Shelf({f"shelf://b/{n // 50}/{n}.jpg": b"x" for n in range(200)})
    statuses = Statuses(files, most_listed=120)
    assert all(statuses.of(uri) for uri in files.files)
    assert (files.asked["status"], files.asked["list"]) == (20 + 100, 4)


def test_statuses_do_without_listings_where_there_are_none() -> None:
    class Flat(Shelf):
        def list(self, folder: str, most: int | None = None) -> dict[str, object]:
            self.asked["list"] += 1
            raise MediaError("unlistable", "no listings")

    files = Flat({f"shelf://b/{n}": b"x" for n in range(30)})
    statuses = Statuses(files)
    assert [statuses.of(f"shelf://b/{n}") == (1, 120) for n in range(31)] == [True] * 30 + [False]
    assert (files.asked["status"], files.asked["list"]) == (31, 1)
    assert statuses.of("other://b/0") is None


def test_fetched_files_come_in_order_and_leave_nothing(tmp_path: Path) -> None:
    local = tmp_path / "local.jpg"
    local.write_bytes(b"local")
    files = Shelf({f"shelf://b/{n}.jpg": str(n).encode() for n in range(100)})
    uris = [*(f"shelf://b/{n}.jpg" for n in range(100)), str(local), "shelf://b/gone.jpg", "shelf://b/3.jpg"]
    kept = []
    with FetchAhead(uris, files, 20.0) as paths:
        folder = Path(paths[0]).parent

        def contents() -> list[bytes]:
            for path in paths:
                kept.append(len(list(folder.iterdir())))
                yield Path(path).read_bytes() if Path(path).exists() else b"nothing"

        found = list(paths.results(contents()))
    assert [f for f in found if isinstance(f, bytes)] == [*(str(n).encode() for n in range(100)), b"local", b"3"]
    assert isinstance(found[101], MediaError)
    assert found[101].reason == "missing"
    assert max(kept) <= 8
    assert files.asked["prepare"] == 1
    assert files.most_at_once <= 8
    assert not folder.exists()
    assert local.exists()


def test_file_that_hangs_is_rejected_and_the_others_come() -> None:
    files, go_on = Shelf({f"shelf://b/{n}": b"x" for n in range(60)}), threading.Event()
    files.held = lambda uri: go_on.wait(30) if uri.endswith("5") else None
    began = time.monotonic()
    with FetchAhead([f"shelf://b/{n}" for n in range(60)], files, 0.3) as paths:
        found = list(paths.results(Path(path).exists() for path in paths))
    go_on.set()
    assert [n for n, f in enumerate(found) if isinstance(f, MediaError) and f.reason == "timeout"] == list(
        range(5, 60, 10)
    )
    assert found.count(True) == 54
    assert time.monotonic() - began < 10


def test_what_is_no_fault_of_the_file_is_raised_and_the_folder_goes() -> None:
    files = Shelf({"shelf://b/0": b"x", "shelf://b/1": b"x"})

    def full(uri: str) -> None:
        if uri.endswith("1"):
            raise OSError("No space left on device")

    files.held = full
    with FetchAhead(["shelf://b/0", "shelf://b/1"], files, 5.0) as paths:
        folder = Path(paths[0]).parent
        with pytest.raises(OSError, match="No space"):
            paths[1]
    assert not folder.exists()


def test_fetches_that_outlive_the_folder_leave_nothing() -> None:
    files, go_on, ended = Shelf({f"shelf://b/{n}": b"x" for n in range(8)}), threading.Event(), threading.Semaphore(0)

    def wait_and_make_the_folder_again(uri: str) -> None:
        if uri.endswith("0"):
            return
        go_on.wait(30)
        with contextlib.suppress(OSError):  # another fetch removes it meanwhile
            folder.mkdir(exist_ok=True)
        ended.release()

    files.held = wait_and_make_the_folder_again
    with FetchAhead([f"shelf://b/{n}" for n in range(8)], files, 20.0) as paths:
        folder = Path(paths[0]).parent
    assert not folder.exists()
    go_on.set()
    assert all(ended.acquire(timeout=20) for _ in range(7))
    until = time.monotonic() + 20
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not folder.exists()


def test_media_are_read_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"here")
    files = Shelf({"shelf://b/a": b"there"})
    assert read_anywhere(str(tmp_path / "a"), files) == b"here"
    assert read_anywhere("shelf://b/a", files) == b"there"
    with pytest.raises(MediaError, match="no such file"):
        read_anywhere("shelf://b/gone", files)
