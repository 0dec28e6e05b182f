"""Older versions that hold an item: which go, which stay and why, in a folder and in a store somewhere else."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.commands.forget import (
    Published,
    Receipt,
    check_catalog,
    check_within,
    forget_versions,
    judge_receipt,
    receipt_text,
)
from sim_transforms.commands.forget_artefacts import Taken, forget_artefacts
from sim_transforms.commands.whereabouts import rows_in_version
from sim_transforms.errors import DamagedArtefact, NotForgotten, NotFound, UsageError
from sim_transforms.report.changes import VersionDiff
from sim_transforms.report.data import Changes, Point, Row, Section, Tile
from sim_transforms.report.page import write_report
from sim_transforms.storage.leases import READERS, Hold
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import list_versions, publish
from tests.unit.report.test_page import small_report
from tests.unit.storage.published import published_store, some_vectors, version_folder

ITEM = "item-55"


class FarStore(LocalStore):
    """A store whose files cannot be opened in place."""

    def local_path(self, name: str) -> Path | None:
        """Null, as of a remote store."""
        return None


@pytest.fixture(params=[LocalStore, FarStore])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> LocalStore:
    """Two versions; the first alone holds ITEM."""
    _, first = published_store(tmp_path, some_vectors())
    later = version_folder(tmp_path / "later", some_vectors()[:50], parent=first)
    publish(LocalStore(str(tmp_path / "store")), tmp_path / "later", later)
    made: LocalStore = request.param(str(tmp_path / "store"))
    return made


def _ids(store: LocalStore) -> list[str]:
    return [version.version for version in list_versions(store)]


def test_forget_versions_removes_those_that_hold_an_item_and_no_others(store: LocalStore) -> None:
    first, second = _ids(store)
    found = rows_in_version(store, first, [ITEM, "item-1", "nobody"], clips=False)
    assert found.keys() == {ITEM, "item-1"}
    (found,) = forget_versions(store, [ITEM], 0.0)
    assert (found.version, found.items, found.outcome) == (first, (ITEM,), "deleted")
    assert _ids(store) == [second]
    assert forget_versions(store, [ITEM], 0.0) == ()


def test_forget_versions_never_removes_what_latest_names(store: LocalStore) -> None:
    found = forget_versions(store, ["item-1"], 0.0)
    assert [version.outcome for version in found] == ["deleted", "remains"]
    assert found[1].reason == "LATEST"


def test_forget_versions_waits_for_the_grace_period(store: LocalStore) -> None:
    first, second = _ids(store)
    (found,) = forget_versions(store, [ITEM], 3600.0)
    assert (found.outcome, found.reason, bool(found.due)) == ("due", "--within", True)
    assert _ids(store) == [first, second]


def test_forget_versions_says_of_which_versions_nobody_can_tell(store: LocalStore, tmp_path: Path) -> None:
    first, second = _ids(store)
    (tmp_path / "store" / "versions" / first / "items.parquet").write_bytes(b"damaged")
    (found,) = forget_versions(store, [ITEM], 0.0)
    assert (found.outcome, found.items) == ("remains", ())
    assert "items.parquet cannot be read" in found.reason
    assert _ids(store) == [first, second]


def test_forget_versions_leaves_an_upload_that_is_at_work(store: LocalStore, tmp_path: Path) -> None:
    uploading = "a" * 16
    folder = tmp_path / "store" / "versions" / uploading
    folder.mkdir()
    (folder / ".tmp-1-index.hnsw").write_bytes(b"half")
    (folder / "centroids.npy").write_bytes(b"")
    with Hold(store, READERS, uploading):
        found = [v for v in forget_versions(store, [ITEM], 0.0) if v.version == uploading]
        assert {v.outcome for v in found} == {"remains"}
        assert "leased by 1 reader" in found[0].reason
    forget_versions(store, [ITEM], 0.0)
    assert not folder.exists()


def _receipt(store: LocalStore, unknown: tuple[str, ...] = ()) -> Receipt:
    published = Published("b" * 16, "c" * 16, "patched", {})
    older = () if unknown else forget_versions(store, [ITEM], 0.0)
    return Receipt((ITEM,), published, Taken({}, ()), older, unknown, ())


def test_receipt_says_what_was_removed_and_that_the_model_was_not_retrained(store: LocalStore) -> None:
    first, _ = _ids(store)
    receipt = _receipt(store)
    assert judge_receipt(receipt) is None
    shown = receipt_text(receipt)
    assert f"forgotten  {ITEM}: removed from 1 older version" in shown
    assert f"deleted    {first}" in shown
    assert "the model was not retrained" in shown


def test_receipt_with_a_version_that_remains_or_with_unknown_items_alone_fails(store: LocalStore) -> None:
    with Hold(store, READERS, _ids(store)[0]):
        assert isinstance(judge_receipt(_receipt(store)), NotForgotten)
    assert isinstance(judge_receipt(_receipt(store, unknown=(ITEM,))), NotFound)


def test_check_catalog_refuses_while_it_holds_an_item() -> None:
    with pytest.raises(UsageError, match=r"catalog shop.csv still holds 2 of the items \('a' in row 3, 'b'\)"):
        check_catalog("shop.csv", {"b": None, "a": 3}, is_kept=False)
    check_catalog("shop.csv", {"a": 3}, is_kept=True)
    check_catalog("shop.csv", {}, is_kept=False)


@pytest.mark.parametrize("hours", [-1.0, float("nan"), float("inf")])
def test_check_within_refuses_what_is_no_time(hours: float) -> None:
    with pytest.raises(UsageError, match="--within"):
        check_within(hours)


def test_forget_artefacts_takes_items_out_of_remembered_files_rejects_and_scratch(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / ".reindex-0a.scratch").mkdir()
    table = pa.table({"item_id": ["a", "b", "a"], "uri": ["1", "2", "3"]})
    for name in ("sources/sources-000000.parquet", "rejects.parquet"):
        pq.write_table(table, tmp_path / name)
    pq.write_table(table.slice(1, 1), tmp_path / "sources" / "sources-000001.parquet")
    untouched = (tmp_path / "sources" / "sources-000001.parquet").stat().st_mtime_ns
    found = forget_artefacts(tmp_path, ["a", "c"])
    assert found.places == {"a": ("rejects.parquet", "sources/sources-000000.parquet")}
    for name in ("sources/sources-000000.parquet", "rejects.parquet"):
        assert pq.read_table(tmp_path / name).to_pylist() == [{"item_id": "b", "uri": "2"}]
    assert (tmp_path / "sources" / "sources-000001.parquet").stat().st_mtime_ns == untouched
    assert not (tmp_path / ".reindex-0a.scratch").exists()
    assert forget_artefacts(tmp_path, ["a", "c"]).places == {}


def test_forget_artefacts_refuses_rejects_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "rejects.parquet").write_bytes(b"damaged")
    with pytest.raises(DamagedArtefact, match=r"rejects.parquet cannot be read"):
        forget_artefacts(tmp_path, ["a"])


def test_forget_artefacts_takes_the_clips_of_a_sound_out_of_what_the_index_rejected(tmp_path: Path) -> None:
    ids = ["a#0", "a#b#0", "a", "b#1.5"]
    for name in ("rejects.parquet", "index_rejects.parquet"):
        pq.write_table(pa.table({"item_id": ids}), tmp_path / name)
    found = forget_artefacts(tmp_path, ["a", "b"], True)
    assert found.places == {"a": ("index_rejects.parquet", "rejects.parquet"), "b": ("index_rejects.parquet",)}
    assert pq.read_table(tmp_path / "index_rejects.parquet").column("item_id").to_pylist() == ["a#b#0"]
    assert pq.read_table(tmp_path / "rejects.parquet").column("item_id").to_pylist() == ["a#0", "a#b#0", "b#1.5"]


@pytest.mark.parametrize("item_id", ["o'brien.png", 'the 5" disc', "<b>&amp;", "long-" * 40])
def test_forget_artefacts_removes_a_report_whatever_the_id_holds(tmp_path: Path, item_id: str) -> None:
    tile = Tile(item_id, "", None)
    diff = VersionDiff("b" * 16, "a" * 16, 9, 10, (item_id,), (), (), "digest", True, 7, 0, 1.0, ())
    empty = small_report()
    for name, shown in (
        ("tile", replace(empty, sections=(Section("Some", "", (Row(tile, ()),)),))),
        ("point", replace(empty, points=(Point(0.5, 0.5, item_id, "", None, None),))),
        ("added", replace(empty, changes=Changes(diff, 0, None, {}))),
    ):
        work = tmp_path / name
        write_report(shown, work / "report")
        assert forget_artefacts(work, ("somebody else",), False).pages == ()
        assert forget_artefacts(work, (item_id,), False).pages == ("report",)
        assert not (work / "report").exists()
