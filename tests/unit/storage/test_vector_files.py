"""Vectors read where they lie: Parquet, .npy with ids, planned in pieces."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.errors import UsageError
from sim_transforms.records.batches import column_of
from sim_transforms.storage import vector_files
from sim_transforms.storage.vector_files import batch_rows, plan_vectors, read_piece

VECTORS = np.arange(60, dtype=np.float32).reshape(20, 3)
IDS = [f"item-{row}" for row in range(20)]


def _read(source: vector_files.VectorSource) -> tuple[list, np.ndarray, list]:
    """(ids, vectors, reasons) of all pieces."""
    batches = [batch for piece in source.pieces for batch in read_piece(piece, source.dimension)]
    ids = [i for batch in batches for i in batch.columns.column("item_id").to_pylist()]
    return ids, np.concatenate([b.vectors for b in batches]), [r for b in batches for r in b.reasons]


def _parquet(path: Path, embedding: pa.Array, **columns: pa.Array) -> Path:
    pq.write_table(pa.table({"item_id": pa.array(IDS[: len(embedding)]), "embedding": embedding, **columns}), path)
    return path


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("fixed", [True, False])
def test_parquet_any_kind_of_float_list_is_read(kind: pa.DataType, fixed: bool, tmp_path: Path) -> None:
    wanted = pa.list_(kind, 3) if fixed else pa.list_(kind)
    column = pa.array([row.astype(kind.to_pandas_dtype()) for row in VECTORS], pa.list_(kind)).cast(wanted)
    source = plan_vectors(_parquet(tmp_path / "v.parquet", column))
    ids, vectors, reasons = _read(source)
    assert (source.items, source.dimension, ids, set(reasons)) == (20, 3, IDS, {None})
    np.testing.assert_array_equal(vectors, VECTORS)


def test_parquet_rows_without_a_fitting_vector_have_a_reason(tmp_path: Path) -> None:
    column = pa.array([[1.0, 2.0], None, [3.0], [4.0, None], []], pa.list_(pa.float32()))
    source = plan_vectors(_parquet(tmp_path / "v.parquet", column))
    _, vectors, reasons = _read(source)
    assert reasons == [None, "missing_vector", "wrong_length", None, "wrong_length"]
    assert vectors[0].tolist() == [1, 2]
    assert np.isnan(vectors[3, 1])


def test_parquet_files_of_a_folder_are_taken_by_name_and_cut_at_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files, "PIECE_BYTES", 100)
    for part in (1, 0):
        table = pa.table({"item_id": IDS[part * 10 :][:10], "embedding": list(VECTORS[part * 10 :][:10])})
        pq.write_table(table, tmp_path / f"part-{part}.parquet", row_group_size=4)
    source = plan_vectors(tmp_path)
    assert [(Path(p.path).name, p.row) for p in source.pieces] == [
        (f"part-{part}.parquet", row) for part in (0, 1) for row in (0, 4, 8)
    ]
    ids, vectors, _ = _read(source)
    assert ids == IDS
    np.testing.assert_array_equal(vectors, VECTORS)


def test_parquet_metadata_is_carried_through_and_numbers_become_ids(tmp_path: Path) -> None:
    table = pa.table(
        {
            "item_id": [7, 8],
            "embedding": [[1.0], [2.0]],
            "price": pa.array([1, None], pa.int16()),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "split": ["train", "test"],
        }
    )
    pq.write_table(table, tmp_path / "v.parquet")
    source = plan_vectors(tmp_path / "v.parquet")
    assert source.metadata_columns == {"kind": "string", "price": "int64"}
    (batch,) = read_piece(source.pieces[0], 1)
    assert batch.columns.to_pydict() == {"item_id": ["7", "8"], "kind": ["a", "b"], "price": [1, None]}


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_array_without_ids_counts_its_rows(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "PIECE_BYTES", 7 * 12)
    np.save(tmp_path / "v.npy", VECTORS.astype(kind))
    source = plan_vectors(tmp_path / "v.npy")
    ids, vectors, _ = _read(source)
    assert [p.count for p in source.pieces] == [7, 7, 6]
    assert ids == [str(row) for row in range(20)]
    np.testing.assert_array_equal(vectors, VECTORS)


def test_array_in_column_order_is_read_by_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.asfortranarray(VECTORS))
    _, vectors, _ = _read(plan_vectors(tmp_path / "v.npy"))
    np.testing.assert_array_equal(vectors, VECTORS)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_array_ids_come_from_the_lines_of_their_piece(
    ends: str, last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_files, "PIECE_BYTES", 6 * 12)
    names = [f"ключ {row}" for row in range(20)]
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "ids.txt").write_bytes((ends.join(names) + (ends if last else "")).encode())
    ids, _, _ = _read(plan_vectors(tmp_path / "v.npy", tmp_path / "ids.txt"))
    assert ids == names


def test_array_with_another_number_of_ids_is_refused_with_both(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"found 2 lines, but .* holds 20 vectors"):
        plan_vectors(tmp_path / "v.npy", tmp_path / "ids.txt")


@pytest.mark.parametrize("array", [np.arange(6), np.arange(6).reshape(2, 3), np.zeros((3, 0))])
def test_array_of_another_shape_or_kind_is_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(UsageError, match=r"\[n, dim\] floats expected"):
        plan_vectors(tmp_path / "v.npy")


def test_array_that_is_truncated_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    data = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(data[:-20])
    with pytest.raises(UsageError, match=r"no readable \.npy file"):
        plan_vectors(tmp_path / "v.npy")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"embedding": [[1.0]]}, "item_id and embedding are expected"),
        ({"item_id": [1.5], "embedding": [[1.0]]}, "item_id is double"),
        ({"item_id": ["a"], "embedding": [[1]]}, "embedding is list"),
        ({"item_id": ["a"], "embedding": [[1.0]], "row": [1]}, "the column row is written by the index itself"),
        ({"item_id": ["a"], "embedding": [[1.0]], "tags": [["x"]]}, "the column tags is list"),
    ],
)
def test_parquet_columns_that_cannot_be_used_are_refused(columns: dict, message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(UsageError, match=message):
        plan_vectors(tmp_path / "v.parquet")


def test_parquet_files_of_different_dimension_are_refused(tmp_path: Path) -> None:
    for part, length in enumerate((2, 3)):
        column = pa.array([[0.5] * length], pa.list_(pa.float32(), length))
        pq.write_table(pa.table({"item_id": [str(part)], "embedding": column}), tmp_path / f"{part}.parquet")
    with pytest.raises(UsageError, match=r"1\.parquet: its vectors have 3 values, those of .*0\.parquet 2"):
        plan_vectors(tmp_path)


def test_parquet_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UsageError, match="no readable Parquet file"):
        plan_vectors(tmp_path / "v.parquet")


@pytest.mark.parametrize("name", ["v.csv", "nothing.npy"])
def test_paths_of_another_kind_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("a,b")
    with pytest.raises(UsageError, match="--embeddings"):
        plan_vectors(tmp_path / name)


def test_batches_stay_within_two_mebibytes() -> None:
    assert [batch_rows(d) for d in (1, 128, 1024, 10**6)] == [4096, 4096, 512, 1]


def test_parquet_files_of_different_columns_are_refused_by_column(tmp_path: Path) -> None:
    for part, name in enumerate(("price", "size")):
        pq.write_table(pa.table({"item_id": ["a"], "embedding": [[0.5]], name: [1]}), tmp_path / f"{part}.parquet")
    with pytest.raises(UsageError, match=r"1\.parquet: its columns differ from those of .*0\.parquet in price, size$"):
        plan_vectors(tmp_path)


def test_parquet_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    columns = [pa.array(["a"]), pa.array([[0.5]]), pa.array([1]), pa.array([2])]
    table = pa.Table.from_arrays(columns, names=["item_id", "embedding", "price", "price"])
    pq.write_table(table, tmp_path / "v.parquet")
    with pytest.raises(UsageError, match="the column price stands more than once"):
        plan_vectors(tmp_path / "v.parquet")


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_parquet_null_in_a_fixed_size_list_is_a_missing_vector(kind: pa.DataType, tmp_path: Path) -> None:
    rows = [None, *(row.astype(kind.to_pandas_dtype()) for row in VECTORS[1:])]
    source = plan_vectors(_parquet(tmp_path / "v.parquet", pa.array(rows, pa.list_(kind, 3))))
    _, vectors, reasons = _read(source)
    assert source.dimension == 3
    assert reasons == ["missing_vector", *[None] * 19]
    np.testing.assert_array_equal(vectors[1:], VECTORS[1:])


def test_parquet_ids_that_cannot_be_used_have_a_reason_and_a_name(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"", None, b"\xff", b"x\ty", b"y" * 1025, "ключ".encode()], pa.binary())
    names = pa.StringArray.from_buffers(7, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])
    pq.write_table(pa.table({"item_id": names, "embedding": [[1.0]] * 7}), tmp_path / "v.parquet")
    ids, _, reasons = _read(plan_vectors(tmp_path / "v.parquet"))
    assert ids == ["a", None, None, "\\xff", "x\ty", "y" * 1025, "ключ"]
    assert reasons == [None, "missing_id", "missing_id", "bad_item_id", "bad_item_id", "bad_item_id", None]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.uint64()])
def test_parquet_ids_of_any_kind_of_text_or_number_are_read(kind: pa.DataType, tmp_path: Path) -> None:
    column = pa.array(["7", "8"]).cast(kind) if kind != pa.uint64() else pa.array([7, 8], kind)
    pq.write_table(pa.table({"item_id": column, "embedding": [[1.0], [2.0]]}), tmp_path / "v.parquet")
    assert _read(plan_vectors(tmp_path / "v.parquet"))[0] == ["7", "8"]


def test_parquet_metadata_that_json_or_int64_cannot_hold_is_carried_as_null_or_text(tmp_path: Path) -> None:
    big = 2**64 - 1
    columns = {"price": pa.array([float("nan"), float("inf"), 1.5]), "key": pa.array([big, 0, None], pa.uint64())}
    table = pa.table({"item_id": IDS[:3], "embedding": [[1.0]] * 3, **columns})
    pq.write_table(table, tmp_path / "v.parquet")
    source = plan_vectors(tmp_path / "v.parquet")
    (batch,) = read_piece(source.pieces[0], 1)
    assert source.metadata_columns == {"key": "string", "price": "double"}
    assert batch.columns.column("price").to_pylist() == [None, None, 1.5]
    assert batch.columns.column("key").to_pylist() == [str(big), "0", None]


def test_parquet_wide_metadata_shortens_the_batches(tmp_path: Path) -> None:
    texts = [np.random.default_rng(row).bytes(50_000).hex() for row in range(100)]
    table = pa.table({"item_id": [str(r) for r in range(100)], "embedding": [[1.0]] * 100, "text": texts})
    pq.write_table(table, tmp_path / "v.parquet")
    source = plan_vectors(tmp_path / "v.parquet")
    sizes = [batch.columns.nbytes for piece in source.pieces for batch in read_piece(piece, 1)]
    assert max(sizes) < 5 * 2**20
    assert sum(sizes) > 9 * 2**20


def test_parquet_row_group_is_never_held_whole(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(100_000, 256)).astype(np.float32)
    table = pa.table({"item_id": np.arange(100_000), "embedding": column_of(vectors)})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=100_000)
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH, str(tmp_path / "v.parquet")], capture_output=True, text=True, check=True
    )
    # Some 100 MiB are pyarrow's own; with the whole row group held it would be 200.
    assert float(done.stdout) < 1.5 * vectors.nbytes / 2**20


# VmHWM, because ru_maxrss of a child starts from its parent's.
_GROWTH = """
import sys
from pathlib import Path
from sim_transforms.storage.vector_files import plan_vectors, read_piece
def peak():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
source = plan_vectors(Path(sys.argv[1]))
before = peak()
assert len(source.pieces) == 1 and sum(len(b.vectors) for b in read_piece(source.pieces[0], 256)) == 100_000
print(peak() - before)
"""


def test_array_ids_with_a_byte_order_mark_and_empty_lines(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS[:3])
    (tmp_path / "ids.txt").write_bytes("\ufeffa\n\nb c\n".encode())
    source = plan_vectors(tmp_path / "v.npy", tmp_path / "ids.txt")
    ids, _, reasons = _read(source)
    assert (ids, reasons) == (["a", None, "b c"], [None, "missing_id", None])


def test_array_ids_that_are_no_utf8_are_refused_by_line(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS[:3])
    (tmp_path / "ids.txt").write_bytes(b"a\nb\n\xffc\n")
    with pytest.raises(UsageError, match=r"line 3, b'\\xffc', is no UTF-8 text"):
        plan_vectors(tmp_path / "v.npy", tmp_path / "ids.txt")
