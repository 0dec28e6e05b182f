"""The page of a version: what it holds is what a search finds, safe in a script, and the same bytes each time."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.browse.page import with_page
from sim_transforms.browse.pictures import PagePictures, first_of, no_pictures
from sim_transforms.browse.scripts import literal
from sim_transforms.lookup.clips import sounds_near
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.records.media import Clips
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish, search_entries
from tests.unit.browse.pages import HOSTILE, arguments, ids_of, page_settings, paged_version, pictures_of, rows_of
from tests.unit.storage.published import routed_folder, some_vectors, version_folder

VECTORS = some_vectors(items=300)


def _png(item_id: str, digest: str) -> bytes | None:
    return None if item_id == "item-11" else f"{item_id} {digest}".encode()


def _folder_bytes(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("text", HOSTILE)
def test_literal_is_ascii_without_markup_and_reads_back(text: str) -> None:
    found = literal({text: [text]})
    assert found.isascii()
    assert not set(found) & set("<>&\n")
    assert json.loads(found) == {text: [text]}


def test_rows_are_those_that_a_search_finds(tmp_path: Path) -> None:
    labels = [str(row % 3) for row in range(300)]
    manifest = paged_version(tmp_path / "new", VECTORS, label=labels, place=list(range(300)))
    store = LocalStore(str(tmp_path / "store"))
    version = publish(store, tmp_path / "new", manifest)
    assert verify_version(store, version) == []
    opened, page = open_version(store.url), tmp_path / "store" / "versions" / version
    about, ids = arguments(page / "page" / "ids.js")
    assert ids == ids_of(VECTORS)
    assert about == {
        "clips": False, "columns": ["label", "place"], "items": 300, "k": 12, "max_distance": 0.2, "pictures": 0,
        "rows": 256, "space": "cosine",
    }  # fmt: skip
    rows = rows_of(page)
    assert [len(arguments(path)[1]) for path in sorted((page / "page" / "rows").iterdir())] == [256, 44]
    assert [row[:2] for row in rows] == [[ids[row], [labels[row], row]] for row in range(300)]
    for item_id, _, near, far in rows[::5]:
        expected = opened.search_item(item_id, 12)
        assert [ids[other] for other in near] == [match.item_id for match in expected]
        np.testing.assert_allclose(far, [match.distance for match in expected], rtol=1e-5, atol=1e-7)
    assert [e.name for e in search_entries(manifest)] == ["index.hnsw", "items.parquet"]
    assert not (page / "page" / "pictures").exists()


def test_free_rows_are_null_and_nobodys_neighbours(tmp_path: Path) -> None:
    gone = (0, 17, 299)
    paged_version(tmp_path, VECTORS, _png, gone)
    _, ids = arguments(tmp_path / "page" / "ids.js")
    rows = rows_of(tmp_path)
    pictures = arguments(tmp_path / "page" / "pictures" / "000000.js")[1]
    assert [row for row in range(300) if ids[row] is None] == list(gone)
    assert [row for row in range(300) if rows[row] is None] == list(gone)
    assert (pictures[0], pictures[17], pictures[11]) == (None, None, None)
    assert not set(gone) & {other for row in rows if row for other in row[2]}
    assert {len(row[2]) for row in rows if row} == {12}


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        paged_version(tmp_path / name, VECTORS, _png)
    assert _folder_bytes(tmp_path / "one") == _folder_bytes(tmp_path / "two")


@pytest.mark.parametrize(("page_items", "has_page"), [(0, False), (59, False), (60, True)])
def test_page_is_for_versions_of_so_many_items(tmp_path: Path, page_items: int, has_page: bool) -> None:
    described = version_folder(tmp_path, some_vectors())
    found = with_page(tmp_path, described, page_settings(page_items), no_pictures)
    assert found.has_page is has_page
    assert (tmp_path / "page").is_dir() is has_page


@pytest.mark.parametrize("items", [0, 1, 2, 13])
def test_fewer_neighbours_where_there_are_no_more(tmp_path: Path, items: int) -> None:
    paged_version(tmp_path, some_vectors(items=items))
    about, ids = arguments(tmp_path / "page" / "ids.js")
    assert (about["items"], len(ids)) == (items, items)
    assert [len(row[2]) for row in rows_of(tmp_path)] == [items - 1] * items


def test_routed_version_is_searched_in_its_shards(tmp_path: Path) -> None:
    described = routed_folder(tmp_path / "new", some_vectors(), probe=4)
    settings = replace(page_settings(), search=replace(page_settings().search, probe=4))
    manifest = with_page(tmp_path / "new", described, settings, no_pictures)
    store = LocalStore(str(tmp_path / "store"))
    publish(store, tmp_path / "new", manifest)
    opened = open_version(store.url)
    ids = arguments(tmp_path / "new" / "page" / "ids.js")[1]
    for item_id, _, near, _ in rows_of(tmp_path / "new"):
        assert [ids[other] for other in near] == [match.item_id for match in opened.search_item(item_id, 12)]


def test_clips_show_the_nearest_clip_of_each_other_sound(tmp_path: Path) -> None:
    sounds = [f"sound-{row % 30}" for row in range(300)]
    described = replace(version_folder(tmp_path / "new", VECTORS), clips=Clips(1.0, 1.0))
    ids = [f"{sound}#{row // 30}" for row, sound in enumerate(sounds)]
    columns = {"item_id": ids, "source_id": sounds, "start": [float(row // 30) for row in range(300)]}
    pq.write_table(pa.table({"row": pa.array(range(300), pa.int32()), **columns}), tmp_path / "new" / "items.parquet")
    described = replace(described, files=(file_entry(tmp_path / "new", "items.parquet"),))
    manifest = with_page(tmp_path / "new", described, page_settings(), no_pictures)
    store = LocalStore(str(tmp_path / "store"))
    publish(store, tmp_path / "new", manifest)
    opened = open_version(store.url)
    expected = sounds_near(opened, opened.vectors_at(np.arange(300)), sounds, 12)
    for row, entry in enumerate(rows_of(tmp_path / "new")):
        assert [ids[other] for other in entry[2]] == [match.item_id for match in expected[row]]


def test_metadata_that_a_browser_cannot_hold_is_told_as_text(tmp_path: Path) -> None:
    numbers = [2**53, -(2**60), *range(58)]
    values = [float("nan"), float("inf"), *map(float, range(58))]
    paged_version(tmp_path, some_vectors(), number=numbers, value=values, flag=[True, None] * 30)
    rows = rows_of(tmp_path)
    assert [row[1] for row in rows[:3]] == [[str(2**53), None, True], [str(-(2**60)), None, None], [0, 0.0, True]]


def test_pictures_follow_items_whose_media_have_not_changed(tmp_path: Path) -> None:
    paged_version(tmp_path / "one", VECTORS, _png)
    before = PagePictures(tmp_path / "one")
    ids = ids_of(VECTORS)
    assert before("item-20", "d20") == b"item-20 d20"
    assert before(ids[0], "d0") == f"{ids[0]} d0".encode()
    assert before("item-299", "d299") == b"item-299 d299"
    assert [before("item-20", "other"), before("nobody", "d20"), before("item-11", "d11")] == [None] * 3
    digests = ["new" if row == 20 else f"d{row}" for row in range(300)]
    fresh = first_of([before, lambda item_id, digest: b"fresh" if digest == "new" else None])
    paged_version(tmp_path / "two", VECTORS[::-1].copy(), fresh, digest=digests)
    found = pictures_of(tmp_path / "two")
    assert found["item-20"] == base64.b64encode(b"fresh").decode()
    assert found["item-11"] is None
    assert found["item-21"] == base64.b64encode(b"item-21 d21").decode()


def test_pictures_of_a_page_of_another_make_are_left_alone(tmp_path: Path) -> None:
    paged_version(tmp_path, VECTORS, _png)
    (tmp_path / "page" / "pictures" / "000000.js").write_text("ruiji.other(0, [\n")
    (tmp_path / "page" / "pictures" / "000004.js").unlink()
    longer = tmp_path / "page" / "pictures" / "000002.js"
    longer.write_bytes(longer.read_bytes().replace(b"\n])", b',\n"more"\n])'))
    assert [PagePictures(tmp_path)(f"item-{row}", f"d{row}") for row in (20, 130, 299)] == [None, None, None]
    assert PagePictures(tmp_path)("item-100", "d100") == b"item-100 d100"
