"""Vectors from every kind of file give the same draw; what is no vectors is refused with what is expected."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.commands.sample_source import open_source
from sim_transforms.errors import UsageError
from sim_transforms.records.batches import column_of

IDS = [f"item-{i:03d}" for i in range(50)]
VECTORS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


def _parquet(path: Path, rows: slice, embedding: pa.Array | None = None) -> Path:
    vectors = column_of(VECTORS[rows]) if embedding is None else embedding
    pq.write_table(pa.table({"item_id": IDS[rows], "colour": ["red"] * len(IDS[rows]), "embedding": vectors}), path)
    return path


def _npy(folder: Path) -> tuple[Path, Path]:
    np.save(folder / "vectors.npy", VECTORS)
    (folder / "ids.txt").write_text("\n".join(IDS) + "\n")
    return folder / "vectors.npy", folder / "ids.txt"


def test_open_source_of_every_kind_draws_the_same(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    _parquet(tmp_path / "parts" / "a.parquet", slice(0, 20))
    _parquet(tmp_path / "parts" / "b.parquet", slice(20, 50))
    lists = _parquet(tmp_path / "lists.parquet", slice(0, 50), pa.array(VECTORS.astype(np.float64).tolist()))
    sources = [open_source(tmp_path / "parts"), open_source(lists), open_source(*_npy(tmp_path))]
    drawn = [source.draw(12, seed=1) for source in sources]
    assert {(s.items, s.dimension) for s in sources} == {(50, 4)}
    assert len({d.item_ids for d in drawn}) == 1
    for other in drawn[1:]:
        np.testing.assert_array_equal(drawn[0].vectors, other.vectors)


def test_open_source_row_bytes_are_those_of_the_columns_beside_the_vector(tmp_path: Path) -> None:
    source = open_source(_parquet(tmp_path / "a.parquet", slice(0, 50)))
    assert source.row_bytes == pytest.approx(8 + 4 + 3 + 4, abs=0.5)


def test_open_source_npy_without_ids_takes_row_numbers(tmp_path: Path) -> None:
    drawn = open_source(_npy(tmp_path)[0]).draw(50, seed=0)
    assert sorted(int(i) for i in drawn.item_ids) == list(range(50))
    np.testing.assert_array_equal(drawn.vectors, VECTORS[[int(i) for i in drawn.item_ids]])


def test_open_source_digest_changes_with_the_file(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "a.parquet", slice(0, 50))
    before = open_source(path).digest
    assert open_source(path).digest == before
    _parquet(path, slice(0, 49))
    assert open_source(path).digest != before


def test_open_source_refuses_what_holds_no_vectors(tmp_path: Path) -> None:
    npy, ids = _npy(tmp_path)
    pq.write_table(pa.table({"item_id": ["a"]}), tmp_path / "bare.parquet")
    np.save(tmp_path / "flat.npy", VECTORS[0])
    (tmp_path / "short.txt").write_text("a\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no Parquet")
    for path, given, said in (
        (tmp_path / "bare.parquet", None, "item_id and embedding are expected"),
        (tmp_path / "flat.npy", None, r"float32 of shape \(4,\)"),
        (npy, tmp_path / "short.txt", "found 1 lines"),
        (npy, tmp_path / "nowhere.txt", "there is no such file"),
        (tmp_path / "empty", None, "a folder of .parquet files is expected"),
        (tmp_path / "nowhere", None, "there is no such file or folder"),
        (tmp_path / "text.parquet", None, "no readable Parquet file"),
        (_parquet(tmp_path / "a.parquet", slice(0, 9)), ids, "only an .npy file takes its ids"),
    ):
        with pytest.raises(UsageError, match=said):
            open_source(path, given)


def test_draw_leaves_out_rows_without_an_id_or_a_vector(tmp_path: Path) -> None:
    vectors = pa.array([[1.0, 2.0], [1.0], None, [3.0, 4.0], [5.0, 6.0]])
    table = pa.table({"item_id": ["a", "short", "none", None, "b"], "embedding": vectors})
    pq.write_table(table, tmp_path / "ragged.parquet")
    drawn = open_source(tmp_path / "ragged.parquet").draw(9, seed=0)
    assert dict(zip(drawn.item_ids, drawn.vectors.tolist(), strict=True)) == {"a": [1.0, 2.0], "b": [5.0, 6.0]}
