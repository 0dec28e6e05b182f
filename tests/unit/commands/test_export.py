"""What is exported holds every item once, with its vector and metadata, in the shape that the other system takes."""

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms.commands import export as exporting
from sim_transforms.commands.export import FORMATS, export
from sim_transforms.errors import UsageError
from sim_transforms.index_input import open_embeddings
from sim_transforms.lookup.open import open_version
from sim_transforms.storage.local import LocalStore
from tests.unit.storage.published import published_routed, published_store, some_vectors

ITEMS = 60


@pytest.fixture(scope="module", params=["merged", "routed"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    folder = tmp_path_factory.mktemp(request.param)
    make = published_store if request.param == "merged" else published_routed
    return make(folder, some_vectors(items=ITEMS))[0]


def _known(store: LocalStore) -> dict[str, tuple[list[float], dict[str, Any]]]:
    opened = open_version(store.url)
    return {
        item["item_id"]: (opened.vector_of(item["item_id"]).tolist(), item["metadata"])
        for item in opened.described(opened.live_rows())
    }


def _lines(folder: Path, ending: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(folder.glob(f"part-*.{ending}")) for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize(("kind", "column"), [("parquet", "embedding"), ("milvus", "vector")])
def test_parquet_holds_ids_vectors_and_metadata(store: LocalStore, tmp_path: Path, kind: str, column: str) -> None:
    assert export(store.url, None, kind, tmp_path / "out")["items"] == ITEMS
    table = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert table.column_names == ["item_id", "colour", column]
    assert pa.types.is_fixed_size_list(table.schema.field(column).type) == (kind == "parquet")
    found = {row["item_id"]: (row[column], {"colour": row["colour"]}) for row in table.to_pylist()}
    assert found == _known(store)


def test_numpy_can_be_indexed_again(store: LocalStore, tmp_path: Path) -> None:
    export(store.url, None, "numpy", tmp_path / "out")
    vectors = np.load(tmp_path / "out" / "vectors.npy")
    ids = (tmp_path / "out" / "ids.txt").read_text().splitlines()
    assert vectors.dtype == np.float32
    assert dict(zip(ids, vectors.tolist(), strict=True)) == {
        name: vector for name, (vector, _) in _known(store).items()
    }


def test_qdrant_points_have_uuids_that_stay(store: LocalStore, tmp_path: Path) -> None:
    export(store.url, None, "qdrant", tmp_path / "out")
    points = _lines(tmp_path / "out", "jsonl")
    found = {p["payload"].pop("item_id"): (p["vector"], p["payload"]) for p in points}
    assert {name: facts for name, (_, facts) in found.items()} == {n: facts for n, (_, facts) in _known(store).items()}
    for name, (vector, _) in found.items():
        np.testing.assert_allclose(vector, _known(store)[name][0], rtol=1e-6)
    assert len({uuid.UUID(point["id"]) for point in points}) == ITEMS
    told = json.loads((tmp_path / "out" / "collection.json").read_text())
    assert told == {"vectors": {"size": 8, "distance": "Cosine"}}
    export(store.url, None, "qdrant", tmp_path / "again")
    assert [point["id"] for point in _lines(tmp_path / "again", "jsonl")] == [point["id"] for point in points]


def test_vertex_records_have_restricts(store: LocalStore, tmp_path: Path) -> None:
    export(store.url, None, "vertex", tmp_path / "out")
    records = _lines(tmp_path / "out", "json")
    records = [record for record in records if "id" in record]
    assert sorted(record["id"] for record in records) == sorted(_known(store))
    assert {tuple(record) for record in records} == {("id", "embedding", "restricts", "numeric_restricts")}
    (restrict,) = records[0]["restricts"]
    assert restrict == {"namespace": "colour", "allow": [_known(store)[records[0]["id"]][1]["colour"]]}


def test_vertex_tells_numbers_apart_from_text_and_leaves_out_what_is_missing() -> None:
    row = {"item_id": "a", "price": 2.5, "stock": 3, "new": True, "brand": "b", "note": None}
    found = exporting._record(row, np.ones(2, np.float32))
    assert found["numeric_restricts"] == [
        {"namespace": "price", "value_double": 2.5},
        {"namespace": "stock", "value_int": 3},
    ]
    assert found["restricts"] == [{"namespace": "new", "allow": ["True"]}, {"namespace": "brand", "allow": ["b"]}]


@pytest.mark.parametrize("kind", FORMATS)
def test_manifest_balances_and_names_the_files(store: LocalStore, tmp_path: Path, kind: str) -> None:
    export(store.url, None, "numpy" if kind == "vertex" else "vertex", tmp_path / "out")
    export(store.url, None, kind, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert told["ledger"] == {"items_in": ITEMS, "items_out": ITEMS, "rejected": 0, "skipped": 0}
    assert {entry["name"] for entry in told["files"]} | {"manifest.json"} == {
        p.name for p in (tmp_path / "out").iterdir()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_several_parts_hold_all(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pq.read_table(Path(store.url) / "versions" / open_version(store.url).version / "items.parquet")
    assert table.num_rows == ITEMS
    monkeypatch.setattr(exporting, "_PART_GROUPS", 1)
    export(store.url, None, "qdrant", tmp_path / "out")
    assert len(_lines(tmp_path / "out", "jsonl")) == ITEMS


def test_command_says_what_is_wrong(store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="parquet, numpy, milvus, qdrant, vertex are known"):
        export(store.url, None, "faiss", tmp_path / "out")
    assert main(["export", "--store", store.url]) == 2
    assert "--output DIR is required" in capsys.readouterr().err
    assert main(["export", "--store", store.url, "--output", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == ITEMS


def test_folder_that_holds_something_else_is_left_alone(store: LocalStore, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="no earlier output"):
        export(store.url, None, "parquet", Path(store.url).parent)
    assert sorted(tmp_path.rglob("*")) == before
    open_version(store.url)


def test_exported_parquet_can_be_indexed(store: LocalStore, tmp_path: Path) -> None:
    export(store.url, None, "parquet", tmp_path / "out")
    found = open_embeddings(tmp_path / "out", None, "cosine")
    assert (found.is_foreign, found.manifest.items) == (True, ITEMS)
