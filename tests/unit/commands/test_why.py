"""Where an item stands, from a store and a working directory that are made by hand."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms.commands.why import Origin, why
from sim_transforms.commands.why_text import not_found, why_text
from sim_transforms.records.items import OFFSETS_SCHEMA, REJECTS_SCHEMA, FailedItem
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish
from tests.unit.storage.published import published_store, some_vectors, version_folder


def _rejects(path: Path, *failed: FailedItem) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([asdict(item) for item in failed], REJECTS_SCHEMA), path)


@pytest.fixture
def versions(tmp_path: Path) -> tuple[str, str]:
    """Ids of two versions: item-0 to item-59, then without the last ten."""
    _, first = published_store(tmp_path, some_vectors())
    later = version_folder(tmp_path / "later", some_vectors()[:50], parent=first)
    return first, publish(LocalStore(str(tmp_path / "store")), tmp_path / "later", later)


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    """A working directory beside the store, and a catalog of six rows."""
    catalog = tmp_path / "catalog.csv"
    listed = ("item-3", "item-4", "broken", "zero", "waiting")
    catalog.write_text("item_id,uri\n" + "".join(f"{i},{i}.png\n" for i in listed) + "unreadable,\n")
    (tmp_path / "work" / "embeddings").mkdir(parents=True)
    work = tmp_path / "work"
    _rejects(
        work / "rejects.parquet",
        FailedItem("broken", "broken.png", "preprocess", "truncated", "the file ends early"),
        FailedItem("unreadable", "", "catalog", "missing_uri", "the row has no uri"),
    )
    _rejects(work / "index_rejects.parquet", FailedItem("zero", "e.parquet#3", "index", "zero_vector", "no direction"))
    (work / "examples").mkdir()
    place = {"item_id": "item-3", "label": "", "split": "train", "shard": 1, "offset": 64, "length": 32}
    pq.write_table(pa.Table.from_pylist([place], OFFSETS_SCHEMA), work / "examples" / "offsets.parquet")
    pq.write_table(pa.table({"item_id": ["item-3"]}), work / "embeddings" / "embeddings-00000-of-00001.parquet")
    return Origin(work, str(catalog), allow_outside=False)


def _store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def test_why_published_item_gives_its_row_shard_and_places(
    versions: tuple[str, str], origin: Origin, tmp_path: Path
) -> None:
    found = why("item-3", _store(tmp_path), origin)
    assert found.published is not None
    assert (found.status, found.published.version, found.published.shard) == ("published", versions[1], 0)
    items = pq.read_table(tmp_path / "later" / "items.parquet").to_pylist()
    assert found.published.row == next(item["row"] for item in items if item["item_id"] == "item-3")
    assert [place.version for place in found.older] == [versions[0]]
    assert (found.in_catalog, found.catalog_row) == (True, 1)
    assert (found.examples, found.embeddings) == ((1, 64, 32), "embeddings-00000-of-00001.parquet")
    assert f"{versions[1]}, row {found.published.row}, shard 0, LATEST" in why_text(found)


@pytest.mark.parametrize(
    ("item_id", "stage", "reason", "file"),
    [
        ("broken", "preprocess", "truncated", "rejects.parquet"),
        ("unreadable", "catalog", "missing_uri", "rejects.parquet"),
        ("zero", "index", "zero_vector", "index_rejects.parquet"),
    ],
)
def test_why_dropped_item_gives_stage_reason_and_time(
    versions: tuple[str, str], origin: Origin, tmp_path: Path, item_id: str, stage: str, reason: str, file: str
) -> None:
    found = why(item_id, _store(tmp_path), origin)
    assert found.status == "rejected"
    (said,) = found.rejected
    assert (said.stage, said.reason, said.file) == (stage, reason, file)
    assert f"dropped at {stage}" in why_text(found)
    assert f"{reason}: {said.message}" in why_text(found)
    assert said.written in why_text(found)


def test_why_item_of_the_catalog_alone_says_reindex(versions: tuple[str, str], origin: Origin, tmp_path: Path) -> None:
    found = why("waiting", _store(tmp_path), origin)
    assert (found.status, found.catalog_row) == ("waiting", 5)
    assert "run `ruiji reindex`" in why_text(found)


def test_why_item_of_the_catalog_where_nothing_is_published_says_run(origin: Origin, tmp_path: Path) -> None:
    found = why("waiting", _store(tmp_path), origin)
    assert (found.status, found.latest) == ("waiting", None)
    assert "run `ruiji run`" in why_text(found)


def test_why_item_of_older_versions_alone_names_them(versions: tuple[str, str], origin: Origin, tmp_path: Path) -> None:
    found = why("item-55", _store(tmp_path), origin)
    assert (found.status, [place.version for place in found.older]) == ("withdrawn", [versions[0]])
    assert f"older      {versions[0]}, row {found.older[0].row}" in why_text(found)


def test_why_published_item_that_left_the_catalog_says_so(
    versions: tuple[str, str], origin: Origin, tmp_path: Path
) -> None:
    found = why("item-7", _store(tmp_path), origin)
    assert (found.status, found.in_catalog) == ("published", False)
    assert "`ruiji reindex` takes it out" in why_text(found)


def test_why_unknown_item_names_those_that_are_spelt_alike(
    versions: tuple[str, str], origin: Origin, tmp_path: Path
) -> None:
    found = why("waitin", _store(tmp_path), origin)
    assert (found.status, found.nearest) == ("unknown", ("waiting",))
    assert "did you mean waiting?" in str(not_found(found))
    assert why("completely-different", _store(tmp_path), origin).nearest == ()


def test_why_says_which_versions_cannot_be_read(versions: tuple[str, str], origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "store" / "versions" / versions[0] / "items.parquet").write_bytes(b"damaged")
    found = why("item-3", _store(tmp_path), origin)
    assert (found.unreadable, found.older) == ((versions[0],), ())
    assert versions[0] in str(not_found(replace(found, published=None)))


def test_why_command_with_a_store_alone_answers_and_ends_with_1_for_unknown_items(
    versions: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["why", "item-3", "--store", _store(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("item-3: published\nversion    ")
    assert main(["why", "item-33x", "--store", _store(tmp_path), "--json"]) == 1
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["status"], result["in_catalog"]) == ("unknown", None)
    assert "item-33" in result["nearest"]
    assert "stands nowhere" in shown.err


def test_why_command_without_store_and_configuration_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "item-3"]) == 2
    assert "which store?" in capsys.readouterr().err
