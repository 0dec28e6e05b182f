"""Members of archives are listed and read as they were packed, or refused with a reason."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import CatalogError, MediaError
from sim_transforms.media.archive import file_of, is_member, members, read_member
from sim_transforms.media.catalog import catalog_stat_digest, plan_catalog, read_part
from sim_transforms.media.image import read_media
from sim_transforms.records.items import FailedItem

MOST = 2**20
FILES = {
    "cats/a 1.jpg": b"first",
    "cats/ü#?%&.jpg": np.random.default_rng(0).bytes(5000),
    "dogs/deep/" + "n" * 180 + ".png": b"x" * 3000,
    "empty.png": b"",
}


def _tar(path: Path, files: dict[str, bytes] = FILES, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        archive.addfile(_entry("cats", 0, tarfile.DIRTYPE))
        for name, data in files.items():
            archive.addfile(_entry(name, len(data)), io.BytesIO(data))
    return path


def _entry(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry


def _zip(path: Path, files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("cats/", b"")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _content(path: Path) -> dict[str, bytes]:
    return {member.name: read_member(member.uri, MOST) for member in members(path)}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_tar_members_are_read_by_offset(form: int, tmp_path: Path) -> None:
    assert _content(_tar(tmp_path / "some photos #1.tar", form=form)) == FILES


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_members_are_read_by_offset(method: int, tmp_path: Path) -> None:
    assert _content(_zip(tmp_path / "some photos #1.zip", method=method)) == FILES


def test_uri_names_the_archive_and_media_are_read_through_it(tmp_path: Path) -> None:
    path = _tar(tmp_path / "ü ? #.tar")
    first = next(members(path))
    assert is_member(first.uri)
    assert (file_of(first.uri), file_of("/plain#file.jpg")) == (str(path), "/plain#file.jpg")
    assert read_media(first.uri) == b"first"


def test_links_devices_folders_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (
            ("l", tarfile.SYMTYPE),
            ("d", tarfile.CHRTYPE),
            ("f", tarfile.DIRTYPE),
        ):
            archive.addfile(_entry(name, 0, kind))
        for name in ("./b/c.jpg", ".hidden", "b/.x/y.jpg", "__MACOSX/b/c.jpg"):
            archive.addfile(_entry(name, 1), io.BytesIO(b"1"))
    assert _content(tmp_path / "a.tar") == {"b/c.jpg": b"1"}


def _reason(uri: str, most: int = MOST) -> str:
    with pytest.raises(MediaError) as caught:
        read_member(uri, most)
    return caught.value.reason


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_what_has_changed_since_it_was_listed_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    (_tar if name == "a.tar" else _zip)(path)
    listed = {member.name: member.uri for member in members(path)}
    uri = listed["cats/ü#?%&.jpg"]
    assert _reason(uri, 4999) == "too_large"
    data = path.read_bytes()
    path.write_bytes(data[:1500])
    assert _reason(uri) in ("truncated", "damaged")
    path.unlink()
    assert _reason(uri) == "missing"


def test_zip_damages_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"a.jpg": b"a" * 1000, "b.jpg": b"b" * 1000})
    uris = [member.uri for member in members(path)]
    data = bytearray(path.read_bytes())
    place = data.find(b"a.jpg") + 5
    data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert _reason(uris[0]) == "damaged"
    assert read_member(uris[1], MOST) == b"b" * 1000
    assert _reason(uris[1].replace("method=8", "method=12")) == "unsupported_compression"
    assert _reason(uris[1].replace("sealed=0", "sealed=1")) == "encrypted"
    assert _reason(uris[1].replace("crc=", "crc=1")) == "damaged"


def test_zip_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", {"bomb.png": bytes(50 * 2**20)})
    (member,) = members(path)
    assert _reason(member.uri) == "too_large"
    assert _reason(member.uri.replace(f"whole={50 * 2**20}", "whole=100")) == "damaged"


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_archive_that_is_cut_off_fails_the_catalog(name: str, tmp_path: Path) -> None:
    (_tar if name == "a.tar" else _zip)(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 3])
    with pytest.raises(CatalogError, match="not a whole archive"):
        plan_catalog(str(tmp_path / name), False)


def test_catalog_of_one_archive(tmp_path: Path) -> None:
    plan = plan_catalog(str(_zip(tmp_path / "a.zip")), False)
    (part,) = plan.parts
    found = list(read_part(plan, part, 0))
    assert (plan.kind, plan.rows) == ("archives", 4)
    assert [(entry.item_id, entry.label, entry.row) for entry in found if not isinstance(entry, FailedItem)] == [
        (name, name.partition("/")[0] if "/" in name else "", place + 1) for place, name in enumerate(FILES)
    ]


def test_catalog_of_a_folder_of_archives_numbers_rows_through(tmp_path: Path) -> None:
    _tar(tmp_path / "1.tar", {"a/x.jpg": b"1", "a/y\n.jpg": b"2"})
    _zip(tmp_path / "2.zip", {"b/z.jpg": b"3"})
    plan = plan_catalog(str(tmp_path), False)
    found = [entry for part in plan.parts for entry in read_part(plan, part, 0)]
    assert (plan.rows, len(plan.parts)) == (3, 2)
    assert [getattr(entry, "row", entry.item_id) for entry in found] == [1, "a/y\n.jpg", 3]
    assert isinstance(found[1], FailedItem)
    assert found[1].reason == "bad_item_id"


def test_compressed_tar_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(CatalogError, match=r"unpack it to \.tar"):
        plan_catalog(str(tmp_path / "a.tar.gz"), False)


@pytest.mark.parametrize(
    "uri", ["tar:///a.tar", "tar:///a.tar?offset=1", "tar:///a.tar?offset=x&size=1", "zip:///a.zip?offset=1&size=2#x",
            "tar:///a.tar?offset=-1&size=5"]
)  # fmt: skip
def test_uris_that_no_listing_gives_are_refused(uri: str) -> None:
    assert _reason(uri) == "bad_uri"


def test_rows_of_a_catalog_may_name_members_inside_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inside = next(members(_tar(tmp_path / "in" / "a.tar"))).uri
    outside = next(members(_tar(tmp_path / "b.tar"))).uri
    (tmp_path / "in" / "c.csv").write_text(f"item_id,uri\nx,{inside}\ny,{outside}\n")
    plan = plan_catalog(str(tmp_path / "in" / "c.csv"), False)
    (first, second) = read_part(plan, plan.parts[0], 0)
    assert not isinstance(first, FailedItem)
    assert read_media(first.uri) == b"first"
    assert isinstance(second, FailedItem)
    assert second.reason == "outside_catalog"


def test_second_names_of_a_file_are_members_too(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(_entry("a/x.jpg", 3), io.BytesIO(b"one"))
        link = _entry("a/y.jpg", 0, tarfile.LNKTYPE)
        link.linkname = "a/x.jpg"
        archive.addfile(link)
    assert _content(tmp_path / "a.tar") == {"a/x.jpg": b"one", "a/y.jpg": b"one"}


def test_tar_with_a_damaged_header_in_the_middle_fails_the_catalog(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", {f"c/{n}.jpg": b"x" * 100 for n in range(5)})
    data = bytearray(path.read_bytes())
    place = data.find(b"c/2.jpg")
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(CatalogError, match=f"no member begins at byte {place}"):
        list(members(path))


def test_two_tars_in_one_file_fail_the_catalog(tmp_path: Path) -> None:
    data = _tar(tmp_path / "a.tar", {"c/0.jpg": b"x"}).read_bytes()
    (tmp_path / "b.tar").write_bytes(data + data)
    with pytest.raises(CatalogError, match="not a whole archive"):
        list(members(tmp_path / "b.tar"))


def test_archive_that_changes_while_the_job_runs_fails_the_catalog(tmp_path: Path) -> None:
    _tar(tmp_path / "b.tar", {"c/0.jpg": b"x"})
    plan = plan_catalog(str(tmp_path), False)
    _tar(tmp_path / "a.tar", {"c/1.jpg": b"x"})  # comes before it, and is no part of the plan
    (found,) = read_part(plan, plan.parts[0], 0)
    assert found.item_id == "c/0.jpg"
    _tar(tmp_path / "b.tar", {"c/0.jpg": b"x", "c/2.jpg": b"y"})
    with pytest.raises(CatalogError, match="held 1 members when the job began, and 2 now"):
        list(read_part(plan, plan.parts[0], 0))


@pytest.mark.parametrize("uri", ["zip://[x/a.zip?offset=1", "tar:///a%00b.tar?offset=1&size=1", "x" * 5000])
def test_odd_uris_of_a_table_are_rejected_one_by_one(uri: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(f"item_id,uri\nx,{uri}\n")
    for allow_outside in (False, True):
        plan = plan_catalog(str(tmp_path / "c.csv"), allow_outside)
        (found,) = read_part(plan, plan.parts[0], 0)
        assert isinstance(found, FailedItem)
        assert found.reason in ("bad_uri", "outside_catalog")


def test_stat_digest_of_archives_changes_with_an_archive_alone(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", {"c/0.jpg": b"x"})
    before = catalog_stat_digest(plan_catalog(str(tmp_path), False))
    assert catalog_stat_digest(plan_catalog(str(tmp_path), False)) == before
    os.utime(path, (1, 1))
    touched = catalog_stat_digest(plan_catalog(str(tmp_path), False))
    _zip(tmp_path / "b.zip", {"c/1.jpg": b"y"})
    assert len({before, touched, catalog_stat_digest(plan_catalog(str(tmp_path), False))}) == 3
