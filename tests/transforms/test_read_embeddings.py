"""Reading vectors and finding repeated ids on Beam: every output of a tiny input."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from sim_transforms import find_repeats
from sim_transforms.errors import CatalogError
from sim_transforms.find_repeats import FindRepeats, Repeat, Repeats, refuse_repeats, unless_repeated
from sim_transforms.hand_back import HandBack, read_rows
from sim_transforms.read_embeddings import DIGESTS, FAILED, IDS, LEDGER, ReadEmbeddings, ReadKept, sum_digests
from sim_transforms.records.ledger import LedgerEntry, balance
from sim_transforms.storage import vector_files
from sim_transforms.storage.vector_files import plan_vectors

VECTORS = np.random.default_rng(4).normal(size=(12, 3)).astype(np.float32)
IDS_GIVEN = [f"item-{row:02d}" for row in range(12)]


def _options() -> PipelineOptions:
    return PipelineOptions(["--runner=FnApiRunner", "--direct_running_mode=in_memory"])


def _write(path: Path, vectors: list | np.ndarray, ids: list, **columns: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"item_id": ids, "embedding": list(vectors), **columns}), path, row_group_size=4)


def _outputs(path: Path, scratch: Path, space: str = "cosine") -> dict[str, list]:
    """What each output of ReadEmbeddings holds; batches and ids as lists of rows."""
    source = plan_vectors(path)
    scratch.mkdir(exist_ok=True)
    with beam.Pipeline(options=_options()) as pipeline:
        pieces = pipeline | beam.Create(source.pieces)
        read = pieces | ReadEmbeddings(space, source.dimension, digest=True, ids=True)
        again = pieces | "Again" >> ReadKept(space, source.dimension)
        repeats = read[IDS] | FindRepeats(source.items)
        outputs = {"batches": read.batches, "again": again, **{n: read[n] for n in (FAILED, LEDGER, DIGESTS, IDS)}}
        for name in ("batches", "again", IDS):
            outputs[name] = outputs[name] | f"Rows {name}" >> beam.FlatMap(rows_of)
        for name, rows in {**outputs, "repeats": repeats}.items():
            rows | f"HandBack {name}" >> HandBack(str(scratch / name), key=repr)
    return {name: read_rows(str(scratch / name)) for name in (*outputs, "repeats")}


def rows_of(batch: pa.RecordBatch) -> list[dict]:
    return batch.to_pylist()


def test_read_embeddings_every_row_is_kept_or_failed_and_the_ledger_balances(tmp_path: Path) -> None:
    vectors = [row.tolist() for row in VECTORS]
    vectors[1], vectors[5], vectors[6] = [0.0, 0.0, 0.0], None, [1.0, 2.0]
    ids: list = list(IDS_GIVEN)
    ids[9] = None
    _write(tmp_path / "v.parquet", vectors, ids)
    found = _outputs(tmp_path / "v.parquet", tmp_path / "scratch")
    assert [(f.item_id, f.reason, f.uri.rsplit("#", 1)[1], f.stage) for f in sorted(found[FAILED])] == [
        ("", "missing_id", "9", "index"),
        ("item-01", "zero_vector", "1", "index"),
        ("item-05", "missing_vector", "5", "index"),
        ("item-06", "wrong_length", "6", "index"),
    ]
    assert all(f.message for f in found[FAILED])
    assert {row["item_id"] for row in found["batches"]} == {IDS_GIVEN[row] for row in (0, 2, 3, 4, 7, 8, 10, 11)}
    totals = balance("index", found[LEDGER], expected_in=12)
    assert (totals.items_out, totals.rejected) == (8, 4)


def test_read_embeddings_pieces_of_a_file_have_an_account_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "PIECE_BYTES", 1)
    _write(tmp_path / "v.parquet", VECTORS, IDS_GIVEN)
    found = _outputs(tmp_path / "v.parquet", tmp_path / "scratch")
    assert sorted(found[LEDGER]) == [LedgerEntry("index", f"v.parquet:{row}", 4, 4) for row in (0, 4, 8)]
    assert len(found[DIGESTS]) == 3


def test_read_embeddings_of_rejected_rows_alone_gives_no_batch(tmp_path: Path) -> None:
    _write(tmp_path / "v.parquet", np.zeros((6, 3), np.float32), IDS_GIVEN[:6])
    found = _outputs(tmp_path / "v.parquet", tmp_path / "scratch")
    assert (found["batches"], found["again"], len(found[FAILED])) == ([], [], 6)
    assert found[LEDGER] == [LedgerEntry("index", "v.parquet:0", 6, 0, 6)]
    assert sum_digests(found[DIGESTS]) == "0" * 64


def test_read_kept_gives_the_same_rows_as_the_first_reading(tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[3] = np.nan
    _write(tmp_path / "v.parquet", vectors, IDS_GIVEN)
    found = _outputs(tmp_path / "v.parquet", tmp_path / "scratch")
    assert found["again"] == found["batches"]
    assert len(found["again"]) == 11


def test_sum_digests_is_of_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = list(range(12))
    _write(tmp_path / "one.parquet", VECTORS, IDS_GIVEN, price=prices)
    whole = _outputs(tmp_path / "one.parquet", tmp_path / "a")[DIGESTS]
    for part in range(3):
        rows = slice(part, None, 3)
        _write(tmp_path / "many" / f"{part}.parquet", VECTORS[rows], IDS_GIVEN[rows], price=prices[rows])
    monkeypatch.setattr(vector_files, "PIECE_BYTES", 1)
    spread = _outputs(tmp_path / "many", tmp_path / "b")[DIGESTS]
    assert len(spread) > len(whole)
    assert sum_digests(spread) == sum_digests(whole)


@pytest.mark.parametrize("change", ["id", "vector", "metadata"])
def test_sum_digests_sees_each_change(change: str, tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", VECTORS, IDS_GIVEN, price=[0] * 12)
    vectors, ids, prices = VECTORS.copy(), list(IDS_GIVEN), [0] * 12
    if change == "id":
        ids[3] = "other"
    elif change == "vector":
        vectors[3, 1] += 1
    else:
        prices[3] = 1
    _write(tmp_path / "b.parquet", vectors, ids, price=prices)
    digests = [sum_digests(_outputs(tmp_path / f"{n}.parquet", tmp_path / n)[DIGESTS]) for n in ("a", "b")]
    assert digests[0] != digests[1]


def test_find_repeats_names_the_places_in_all_files_and_shuffles_no_vectors(tmp_path: Path) -> None:
    _write(tmp_path / "v" / "a.parquet", VECTORS[:6], IDS_GIVEN[:6])
    _write(tmp_path / "v" / "b.parquet", VECTORS[:6], ["item-04", *IDS_GIVEN[7:11], "item-04"])
    found = _outputs(tmp_path / "v", tmp_path / "scratch")
    repeat = Repeat("item-04", 3, (("a.parquet", 4), ("b.parquet", 0), ("b.parquet", 5)))
    assert found["repeats"] == [Repeats(1, (repeat,))]
    assert {tuple(row) for row in found[IDS]} == {("item_id", "file", "row")}


def test_find_repeats_of_unique_ids_finds_none(tmp_path: Path) -> None:
    _write(tmp_path / "v.parquet", VECTORS, IDS_GIVEN)
    assert _outputs(tmp_path / "v.parquet", tmp_path / "scratch")["repeats"] == []


def test_find_repeats_hands_back_a_few_of_many_whatever_the_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        _write(tmp_path / "v" / f"{name}.parquet", VECTORS, IDS_GIVEN)
    messages = []
    for size in (100_000, 5):
        monkeypatch.setattr(find_repeats, "BUCKET_ITEMS", size)
        repeats = _outputs(tmp_path / "v", tmp_path / f"scratch-{size}")["repeats"]
        assert sum(entry.count for entry in repeats) == 12
        assert all(len(entry.shown) <= find_repeats.SHOWN for entry in repeats)
        with pytest.raises(CatalogError) as refused:
            refuse_repeats(repeats)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert "12 item_id(s) stand more than once: 'item-00' (2 times: a.parquet#0, b.parquet#0)" in messages[0]
    assert "and 2 more" in messages[0]


def test_unless_repeated_lets_pieces_pass_only_without_repeats(tmp_path: Path) -> None:
    _write(tmp_path / "v.parquet", VECTORS, IDS_GIVEN)
    (piece,) = plan_vectors(tmp_path / "v.parquet").pieces
    assert list(unless_repeated(piece, [])) == [piece]
    assert list(unless_repeated(piece, [Repeats(1, ())])) == []


def test_refuse_repeats_of_none_passes() -> None:
    refuse_repeats([])
