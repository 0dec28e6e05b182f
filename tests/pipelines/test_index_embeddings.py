"""`ruiji index --embeddings`: anyone's vectors, with no media, no model and no configuration."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.cli import main
from pipelines.index import build_index
from sim_transforms.errors import CatalogError
from sim_transforms.index_input import open_embeddings
from sim_transforms.lookup.open import open_version
from sim_transforms.records.batches import column_of
from sim_transforms.records.ledger import LedgerTotals
from sim_transforms.records.manifests import EmbeddingsManifest
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.checksums import file_entry
from tests.pipelines.version_pages import checked_page
from tests.unit.hnsw.clouds import clustered

pytestmark = pytest.mark.slow

IN_PROCESS = ["--runner=FnApiRunner", "--direct_running_mode=in_memory"]


def _index(tmp_path: Path, *flags: str, runner: list[str] = IN_PROCESS) -> int:
    return main(["index", "--workdir", str(tmp_path / "work"), "--store", str(tmp_path / "store"), *flags, *runner])


def _answer(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def _parquet(path: Path, vectors: np.ndarray, ids: list[str], **columns: list) -> str:
    table = pa.table({"item_id": ids, "embedding": list(vectors), **columns})
    pq.write_table(table, path)
    return str(path)


def test_index_array_is_published_and_finds_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = clustered(300, 8)
    np.save(tmp_path / "v.npy", vectors)
    assert _index(tmp_path, "--embeddings", str(tmp_path / "v.npy"), "--json") == 0
    answer = _answer(capsys)
    assert list(answer) == [
        "version", "items", "accepted", "rejected", "skipped", "inferences", "recall_at_10", "ef_search",
    ]  # fmt: skip
    assert (answer["items"], answer["accepted"], answer["inferences"]) == (300, 300, 0)
    found = open_version(str(tmp_path / "store")).search(vectors[:20], 1)
    assert [matches[0].item_id for matches in found] == [str(row) for row in range(20)]


def test_index_again_is_skipped_and_gives_the_same_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "v.npy", clustered(60, 4))
    flags = ["--embeddings", str(tmp_path / "v.npy"), "--json"]
    assert _index(tmp_path, *flags) == 0
    first = _answer(capsys)
    assert _index(tmp_path, *flags) == 0
    again = capsys.readouterr()
    assert "index: unchanged, skipped" in again.err
    assert json.loads(again.out.splitlines()[-1]) == first
    assert len(list((tmp_path / "store" / "versions").iterdir())) == 1


def test_index_same_content_in_other_files_is_the_same_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors, ids = clustered(200, 6), [f"item-{row:03d}" for row in range(200)]
    prices = list(range(200))
    versions = []
    for name, parts in (("one", 1), ("many", 7)):
        folder = tmp_path / name
        folder.mkdir()
        for part in range(parts):
            mine = slice(part, None, parts)
            _parquet(folder / f"{part}.parquet", vectors[mine], ids[mine], price=prices[mine])
        assert _index(tmp_path / name, "--embeddings", str(folder), "--set", "index.shard_items=50", "--json") == 0
        versions.append(_answer(capsys)["version"])
    assert versions[0] == versions[1]
    (match,) = open_version(str(tmp_path / "one" / "store")).search(vectors[7:8], 1)[0]
    assert (match.item_id, match.metadata["price"]) == ("item-007", 7)


@pytest.mark.slow
def test_index_two_processes_give_the_same_bytes_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "v.npy", clustered(3000, 12))
    digests = []
    for name, runner in (("one", IN_PROCESS), ("two", ["--direct_num_workers=2"])):
        flags = ["--embeddings", str(tmp_path / "v.npy"), "--set", "index.shard_items=400", "--json"]
        flags += ["--set", "index.page_items=3000"]
        assert _index(tmp_path / name, *flags, runner=runner) == 0
        version = _answer(capsys)["version"]
        folder = tmp_path / name / "store" / "versions" / version
        files = [p for p in folder.rglob("*") if p.is_file() and p.name != "timings.json"]
        digests.append({p.relative_to(folder).as_posix(): p.read_bytes() for p in files})
        assert checked_page(str(tmp_path / name / "store")) == {}
    assert digests[0] == digests[1]
    assert sum(name.startswith("page/rows/") for name in digests[0]) == 12


@pytest.mark.parametrize("items", [1, 2, 5])
def test_index_of_a_few_items_finds_them_all(items: int, tmp_path: Path) -> None:
    vectors = clustered(items, 3)
    np.save(tmp_path / "v.npy", vectors)
    assert _index(tmp_path, "--embeddings", str(tmp_path / "v.npy")) == 0
    (found,) = open_version(str(tmp_path / "store")).search(vectors[:1], 10)
    assert {match.item_id for match in found} == {str(row) for row in range(items)}


def test_index_of_no_items_is_an_empty_version(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((0, 4), np.float32))
    assert _index(tmp_path, "--embeddings", str(tmp_path / "v.npy")) == 0
    assert open_version(str(tmp_path / "store")).search(np.ones((1, 4)), 3) == [[]]
    assert main(["versions", "verify", "--store", str(tmp_path / "store")]) == 0


def test_index_bad_vectors_are_rejected_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = [row.tolist() for row in clustered(40, 3)]
    vectors[3], vectors[5], vectors[8] = [0.0, 0.0, 0.0], [1.0, float("nan"), 0.0], [1.0]
    ids: list = [f"i{row}" for row in range(40)]
    ids[9] = None
    pq.write_table(pa.table({"item_id": ids, "embedding": vectors}), tmp_path / "v.parquet")
    flags = ["--embeddings", str(tmp_path / "v.parquet"), "--json"]
    assert _index(tmp_path, *flags, "--set", "preprocess.max_reject_share=0.2") == 0
    answer = _answer(capsys)
    assert (answer["items"], answer["accepted"], answer["rejected"]) == (40, 36, 4)
    rejects = pq.read_table(tmp_path / "work" / "index_rejects.parquet").to_pylist()
    assert {(r["item_id"], r["reason"], r["uri"].split("#")[1]) for r in rejects} == {
        ("i3", "zero_vector", "3"), ("i5", "not_finite", "5"), ("i8", "wrong_length", "8"), ("", "missing_id", "9"),
    }  # fmt: skip


def test_index_too_many_rejects_fail_before_anything_is_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = clustered(40, 3)
    vectors[:10] = 0
    np.save(tmp_path / "v.npy", vectors)
    assert _index(tmp_path, "--embeddings", str(tmp_path / "v.npy")) == 1
    assert "10 of 40 items (25.0%) were rejected (10 zero_vector)" in capsys.readouterr().err
    assert not (tmp_path / "store" / "LATEST").exists()


def test_index_repeated_ids_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _parquet(tmp_path / "v.parquet", clustered(30, 3), ["a", "b", *map(str, range(26)), "b", "b"])
    assert _index(tmp_path, "--embeddings", path) == 2
    places = "'b' (3 times: v.parquet#1, v.parquet#28, v.parquet#29)"
    assert f"1 item_id(s) stand more than once: {places}" in capsys.readouterr().err
    assert not (tmp_path / "store" / "LATEST").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ids", "ids.txt"], "--ids FILE goes with --embeddings"),
        (["--embeddings", "v.npy", "--model", "m"], "takes neither --examples nor --model"),
        (["--embeddings", "nothing.npy"], "there is no such file"),
        ([], "--config FILE is required"),
    ],
)
def test_index_wrong_usage_exits_2(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _index(tmp_path, *flags) == 2
    assert message in capsys.readouterr().err


def test_index_id_of_a_rejected_row_and_of_another_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = clustered(30, 3)
    vectors[4] = 0
    path = _parquet(tmp_path / "v.parquet", vectors, ["twice" if row in (2, 4) else str(row) for row in range(30)])
    assert _index(tmp_path, "--embeddings", path) == 2
    assert "'twice' (2 times: v.parquet#2, v.parquet#4)" in capsys.readouterr().err


def test_index_of_repeated_ids_builds_nothing(tmp_path: Path) -> None:
    path = _parquet(tmp_path / "v.parquet", clustered(30, 3), ["a", "a", *map(str, range(28))])
    parts = tmp_path / "parts"
    parts.mkdir()
    given = open_embeddings(Path(path), None, "cosine")
    with pytest.raises(CatalogError, match="'a'"):
        build_index(given, parts, IndexSettings(), PipelineOptions(IN_PROCESS))
    assert (parts / "ledger.rows").exists()
    assert not list(parts.rglob("*.arrow"))


def test_index_rejects_are_named_in_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = clustered(40, 3)
    vectors[7] = 0
    np.save(tmp_path / "v.npy", vectors)
    assert _index(tmp_path, "--embeddings", str(tmp_path / "v.npy")) == 0
    assert f"rejects    {tmp_path / 'work' / 'index_rejects.parquet'} names each" in capsys.readouterr().out


def test_index_all_rejected_fails_even_where_any_share_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    column = pa.array([None, None], pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": ["a", "b"], "embedding": column}), tmp_path / "v.parquet")
    flags = ["--embeddings", str(tmp_path / "v.parquet"), "--set", "preprocess.max_reject_share=1.0"]
    assert _index(tmp_path, *flags) == 1
    assert "2 of 2 items (100.0%) were rejected (2 missing_vector)" in capsys.readouterr().err
    assert not (tmp_path / "store" / "LATEST").exists()


def test_index_of_an_artefact_gives_its_own_model_and_catalog(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _artefact(tmp_path / "embeddings", clustered(50, 4))
    assert _index(tmp_path, "--embeddings", str(folder), "--json") == 0
    assert _answer(capsys)["accepted"] == 50
    manifest = open_version(str(tmp_path / "store")).manifest
    assert (manifest.model, manifest.catalog) == ("m" * 64, "c" * 64)


def test_index_ids_beside_an_artefact_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _artefact(tmp_path / "embeddings", clustered(5, 4))
    assert _index(tmp_path, "--embeddings", str(folder), "--ids", "ids.txt") == 2
    assert "only an .npy file takes its ids from a text file" in capsys.readouterr().err


def test_index_changed_reject_limit_is_judged_again(tmp_path: Path) -> None:
    vectors = clustered(40, 3)
    vectors[:4] = 0
    np.save(tmp_path / "v.npy", vectors)
    flags = ["--embeddings", str(tmp_path / "v.npy")]
    assert _index(tmp_path, *flags, "--set", "preprocess.max_reject_share=0.2") == 0
    assert _index(tmp_path, *flags) == 1


def _artefact(folder: Path, vectors: np.ndarray) -> Path:
    folder.mkdir()
    ids = [f"item-{row}" for row in range(len(vectors))]
    name = "embeddings-00000-of-00001.parquet"
    pq.write_table(pa.table({"item_id": ids, "split": ids, "embedding": column_of(vectors)}), folder / name)
    totals = LedgerTotals(len(vectors), len(vectors), 0, 0)
    files = (file_entry(folder, name),)
    manifest = EmbeddingsManifest(
        len(vectors), vectors.shape[1], "cosine", "m" * 64, "c" * 64, {}, len(vectors), totals, files
    )
    (folder / "manifest.json").write_text(manifest.text())
    return folder
