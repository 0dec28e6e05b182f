"""`ruiji neighbors` writes what a look-up of each item finds, once each, in the same bytes whoever works."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms import find_neighbors
from sim_transforms.find_neighbors import drop_own
from sim_transforms.lookup.open import open_version
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.local import LocalStore
from tests.unit.storage.published import published_routed, published_store, some_vectors

pytestmark = pytest.mark.slow

ITEMS = 120


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalStore]:
    vectors = some_vectors(items=ITEMS)
    merged, routed = tmp_path_factory.mktemp("merged"), tmp_path_factory.mktemp("routed")
    return {"merged": published_store(merged, vectors)[0], "routed": published_routed(routed, vectors)[0]}


def _written(store: LocalStore, output: Path, *flags: str) -> list[dict[str, object]]:
    assert main(["neighbors", "--store", store.url, "--output", str(output), *flags]) == 0
    return [row for path in sorted(output.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("layout", ["merged", "routed"])
def test_neighbors_are_those_of_a_look_up(layout: str, stores: dict[str, LocalStore], tmp_path: Path) -> None:
    found = _written(stores[layout], tmp_path / "out", "--k", "5")
    opened = open_version(stores[layout].url, probe=4 if layout == "routed" else None)
    assert sorted(row["item_id"] for row in found) == sorted(f"item-{n}" for n in range(ITEMS))
    for row in found:
        expected = opened.search_item(str(row["item_id"]), 5)
        assert row["neighbors"] == [match.item_id for match in expected]
        np.testing.assert_allclose(row["distances"], [match.distance for match in expected], atol=1e-6)


def test_manifest_counts_every_item_and_describes_the_files(stores: dict[str, LocalStore], tmp_path: Path) -> None:
    _written(stores["merged"], tmp_path / "out", "--k", "3")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (told["k"], told["version"]) == (3, open_version(stores["merged"].url).version)
    assert told["ledger"] == {"items_in": ITEMS, "items_out": ITEMS, "rejected": 0, "skipped": 0}
    (entry,) = told["files"]
    assert entry["sha256"] == file_entry(tmp_path / "out", entry["name"]).sha256


def test_fewer_neighbors_where_there_are_no_more(stores: dict[str, LocalStore], tmp_path: Path) -> None:
    found = _written(stores["merged"], tmp_path / "out", "--k", str(ITEMS + 50))
    assert {len(row["neighbors"]) for row in found} == {ITEMS - 1}


def test_two_processes_write_the_same_bytes(
    stores: dict[str, LocalStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_neighbors, "FILE_GROUPS", 1)
    one, two = tmp_path / "one", tmp_path / "two"
    _written(stores["merged"], one)
    flags = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    _written(stores["merged"], two, *flags)
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}


def test_output_is_replaced_whole_and_nothing_else(stores: dict[str, LocalStore], tmp_path: Path) -> None:
    for _ in range(2):
        assert len(_written(stores["merged"], tmp_path / "out")) == ITEMS
    (tmp_path / "out" / "mine.txt").write_text("precious")
    for command in ("neighbors", "cluster"):
        assert main([command, "--store", stores["merged"].url, "--output", str(tmp_path / "out")]) == 2
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--output", "o"), 2, "which store?"),
        (("--store", "nowhere"), 2, "--output DIR is required"),
        (("--store", "nowhere", "--output", "o", "--k", "0"), 2, "--k: found 0"),
        (("--store", "nowhere", "--output", "o"), 1, "nothing is published there"),
        (("--store", "nowhere", "--output", "o", "--kk", "3"), 2, "did you mean --k?"),
    ],
)
def test_wrong_use_is_said(
    flags: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["neighbors", *flags]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_own_row_is_dropped_wherever_it_stands_and_the_last_where_it_does_not() -> None:
    found = np.array([[7, 1, 2], [1, 8, 2], [1, 2, 3], [9, -1, -1]], np.int32)
    rows, distances = drop_own(found, found.astype(np.float32), np.array([7, 8, 9, 9], np.int32), 2)
    assert rows.tolist() == [[1, 2], [1, 2], [1, 2], [-1, -1]]
    assert distances.tolist() == rows.tolist()
