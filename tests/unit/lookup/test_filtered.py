"""A filtered search gives the nearest of the items that meet the condition, however few, wherever they lie."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms.errors import UsageError
from sim_transforms.lookup import filtered
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish
from tests.unit.storage.published import routed_folder, version_folder

ITEMS, DIMENSION, K = 4_000, 8, 10


def _vectors() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(ITEMS, DIMENSION)).astype(np.float32)


def _published(folder: Path, manifest: VersionManifest) -> str:
    """Gives every item its number, its half (by its first coordinate) and a colour that some lack."""
    new = folder / "new"
    table = pq.read_table(new / "items.parquet")
    numbers = np.array([int(item_id.removeprefix("item-")) for item_id in table.column("item_id").to_pylist()])
    columns = {
        "row": table.column("row"),
        "item_id": table.column("item_id"),
        "number": numbers,
        "half": np.where(_vectors()[numbers, 0] > 0, "right", "left"),
        "colour": [None if n % 3 == 0 else "red" for n in numbers.tolist()],
    }
    pq.write_table(pa.table(columns), new / "items.parquet", row_group_size=500)
    files = tuple(file_entry(new, entry.name) for entry in manifest.files)
    store = LocalStore(str(folder / "store"))
    publish(store, new, replace(manifest, files=files, canaries=()))
    return store.url


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> OpenVersion:
    folder = tmp_path_factory.mktemp("merged")
    return open_version(_published(folder, version_folder(folder / "new", _vectors())))


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("routed")
    return _published(folder, routed_folder(folder / "new", _vectors(), shard_items=500, probe=100))


def _exact(queries: np.ndarray, keep: np.ndarray) -> list[list[str]]:
    vectors = _vectors().astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = np.flatnonzero(keep)
    asked = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    order = np.argsort(1 - asked @ unit[numbers].T, axis=1)[:, :K]
    return [[f"item-{n}" for n in numbers[row]] for row in order]


def _never(*_: object, **__: object) -> None:
    raise AssertionError("this is not asked")


def _recall(opened: OpenVersion, where: str, keep: np.ndarray, queries: np.ndarray) -> float:
    found = [[m.item_id for m in matches] for matches in opened.search(queries, K, where=where)]
    exact = _exact(queries, keep)
    assert [len(f) for f in found] == [len(e) for e in exact]
    return float(np.mean([len(set(f) & set(e)) / max(len(e), 1) for f, e in zip(found, exact, strict=True)]))


@pytest.mark.parametrize("most", [1, 7, 40, 400, 1_500, 3_000, ITEMS])
def test_filtered_search_finds_the_nearest_at_every_share(merged: OpenVersion, routed: str, most: int) -> None:
    keep = np.arange(ITEMS) < most
    queries = np.random.default_rng(5).normal(size=(20, DIMENSION))
    for opened in (merged, open_version(routed), open_version(routed, memory_budget_mib=1)):
        assert _recall(opened, f"number < {most}", keep, queries) >= 0.99


@pytest.mark.parametrize("cost", [filtered._COMPARED, 0.001])
def test_filtered_search_where_what_meets_the_condition_lies_far_away(
    merged: OpenVersion, monkeypatch: pytest.MonkeyPatch, cost: float
) -> None:
    monkeypatch.setattr(filtered, "_COMPARED", cost)
    queries = _vectors()[np.argsort(_vectors()[:, 0])[:20]]
    assert _recall(merged, "half = 'right'", _vectors()[:, 0] > 0, queries) >= 0.99


def test_few_items_are_compared_exactly_and_the_index_is_not_asked(
    merged: OpenVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "_search", _never)
    keep = np.isin(np.arange(ITEMS), (5, 77, 3_000))
    assert _recall(merged, "number IN (5, 77, 3000)", keep, _vectors()[:3]) == 1.0


def test_many_items_are_asked_of_the_index(merged: OpenVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtered, "_COMPARED", 1)
    monkeypatch.setattr(merged, "_compare_all", _never)
    assert _recall(merged, "colour = 'red'", np.arange(ITEMS) % 3 != 0, _vectors()[:20]) >= 0.98


def test_distances_are_those_of_the_index(merged: OpenVersion) -> None:
    queries = _vectors()[:5]
    for mine, plain in zip(merged.search(queries, 3, where="number < 100"), merged.search(queries, 3), strict=True):
        assert mine[0].item_id == plain[0].item_id
        assert mine[0].distance == pytest.approx(plain[0].distance, abs=1e-6)


def test_condition_that_no_item_meets_gives_nothing(merged: OpenVersion, routed: str) -> None:
    for opened in (merged, open_version(routed)):
        assert opened.search(_vectors()[:2], 3, where="number < 0") == [[], []]
        assert opened.no_match(opened.search(_vectors()[:1], 3, where="number < 0")[0])


def test_search_item_leaves_the_item_out_and_keeps_the_condition(merged: OpenVersion) -> None:
    found = merged.search_item("item-4", 5, where="colour = 'red' AND number < 50")
    assert len(found) == 5
    assert all(m.metadata["colour"] == "red" and m.metadata["number"] < 50 and m.item_id != "item-4" for m in found)


def test_rows_that_keeps_the_rows_of_few_conditions(merged: OpenVersion) -> None:
    for most in range(20):
        assert len(merged.rows_that(f"number < {most}")) == most
    assert len(merged._allowed) == 8
    assert merged.rows_that("number < 19") is merged.rows_that("number < 19")


def test_bad_conditions_and_numbers_are_refused(merged: OpenVersion) -> None:
    with pytest.raises(UsageError, match="no column 'size'"):
        merged.search(_vectors()[:1], 3, where="size = 1")
    with pytest.raises(UsageError, match="at least 1"):
        merged.search(_vectors()[:1], 0, where="number < 5")


def test_search_command_takes_a_condition(merged: OpenVersion, routed: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", "--store", routed, "--item", "item-4", "--k", "5", "--json", "--where"]
    assert main([*command, "colour = 'red' and number < 50"]) == 0
    found = json.loads(capsys.readouterr().out)["matches"]
    expected = merged.search_item("item-4", 5, where="number < 50 AND colour LIKE 'red'")
    assert [match["item_id"] for match in found] == [match.item_id for match in expected]
    assert main([*command, "colour = red"]) == 2
    assert "found 'red' at character 10: a value is expected: 'text'" in capsys.readouterr().err
