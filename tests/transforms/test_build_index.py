"""The index job on Beam against the same functions called one after the other in memory."""

from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.index import build_index
from sim_transforms.assign_shards import plan_shards
from sim_transforms.build_index import BuildIndex, IndexResult
from sim_transforms.errors import LedgerError, RecallError, UsageError
from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.index_input import open_embeddings
from sim_transforms.media.guard import Bounds
from sim_transforms.publish_version import assemble_version, make_manifest
from sim_transforms.records.batches import ShardFile, ShardKey, column_of
from sim_transforms.records.ledger import LedgerTotals
from sim_transforms.records.manifests import EmbeddingsManifest
from sim_transforms.records.media import MediaShape
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.checksums import file_entry
from sim_transforms.write_examples import ShardJob, WriteExamples

pytestmark = pytest.mark.slow

ITEMS, DIMENSION = 600, 12


def _vectors(items: int = ITEMS) -> np.ndarray:
    draws = np.random.default_rng(11)
    centres = draws.normal(size=(12, DIMENSION))
    return (centres[draws.integers(0, 12, items)] + 0.4 * draws.normal(size=(items, DIMENSION))).astype(np.float32)


def _write_embeddings(folder: Path, vectors: np.ndarray, space: str, files: int = 3) -> EmbeddingsManifest:
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"item-{row:05d}" for row in range(len(vectors))]
    names = []
    for part in range(files):
        rows = np.arange(part, len(vectors), files)
        columns = {n: pa.array([ids[r] if n == "item_id" else "x" for r in rows]) for n in ("item_id", "label")}
        table = pa.table(
            {**columns, "split": columns["label"], "digest": columns["label"], "embedding": column_of(vectors[rows])}
        )
        names.append(f"embeddings-{part:05d}-of-{files:05d}.parquet")
        pq.write_table(table, folder / names[-1])
    total = LedgerTotals(len(vectors), len(vectors), 0, 0)
    entries = tuple(file_entry(folder, n) for n in names)
    manifest = EmbeddingsManifest(len(vectors), vectors.shape[1], space, "", "c", {}, 0, total, entries)
    (folder / "manifest.json").write_text(manifest.text())
    return manifest


def _build(folder: Path, vectors: np.ndarray, settings: IndexSettings) -> tuple[IndexResult, EmbeddingsManifest, Path]:
    manifest = _write_embeddings(folder / "embeddings", vectors, settings.space)
    parts, version = folder / "parts", folder / "version"
    parts.mkdir()
    version.mkdir()
    options = PipelineOptions(["--runner=FnApiRunner", "--direct_running_mode=in_memory"])
    built = build_index(open_embeddings(folder / "embeddings", None, settings.space), parts, settings, options)
    return built, manifest, version


@pytest.mark.parametrize("space", ["cosine", "l2", "inner_product"])
def test_build_index_on_beam_equals_the_plain_functions(space: str, tmp_path: Path) -> None:
    settings = IndexSettings(space=space, shard_items=150, recall_target=0.9)
    vectors = _vectors()
    built, _, version = _build(tmp_path, vectors, settings)
    assemble_version(version, str(tmp_path / "parts"), built.outcome.plans)
    order = build_whole(vectors, settings, tmp_path / "plain.hnsw", [f"item-{row:05d}" for row in range(ITEMS)])
    assert (version / "index.hnsw").read_bytes() == (tmp_path / "plain.hnsw").read_bytes()
    items = pq.read_table(version / "items.parquet").column("item_id").to_pylist()
    assert items == [f"item-{row:05d}" for row in order]


def test_build_index_manifest_tells_recall_and_rows(tmp_path: Path) -> None:
    settings = IndexSettings(shard_items=150, recall_target=0.9)
    built, embeddings, version = _build(tmp_path, _vectors(), settings)
    sizes = assemble_version(version, str(tmp_path / "parts"), built.outcome.plans)
    manifest = make_manifest(version, sizes, built.outcome, embeddings, settings, None)
    assert manifest.items == ITEMS
    assert [r.first_row for r in manifest.row_ranges[1:]] == [r.end_row for r in manifest.row_ranges[:-1]]
    assert all(r.end_row - r.first_row <= 150 for r in manifest.row_ranges)
    assert {r.k for r in manifest.recall} == {1, 10}
    assert sum(sizes) == manifest.index.size_bytes == (version / "index.hnsw").stat().st_size


def test_build_index_below_the_recall_target_is_refused(tmp_path: Path) -> None:
    settings = IndexSettings(shard_items=60, neighbor_shards=0, m=2, ef_construction=2, recall_target=1.0)
    built, embeddings, version = _build(tmp_path, _vectors(), settings)
    sizes = assemble_version(version, str(tmp_path / "parts"), built.outcome.plans)
    with pytest.raises(RecallError, match=r"raise index\.m"):
        make_manifest(version, sizes, built.outcome, embeddings, settings, None)


@pytest.mark.parametrize("items", [1, 2, 5])
def test_build_index_of_a_few_items_is_whole(items: int, tmp_path: Path) -> None:
    settings = IndexSettings(shard_items=16, recall_target=0.9)
    built, embeddings, version = _build(tmp_path, _vectors(items), settings)
    sizes = assemble_version(version, str(tmp_path / "parts"), built.outcome.plans)
    assert make_manifest(version, sizes, built.outcome, embeddings, settings, None).items == items
    assert read_index(version / "index.hnsw").header.items == items


def test_build_index_bad_vectors_are_rejected_with_reasons(tmp_path: Path) -> None:
    vectors = _vectors(40)
    vectors[3], vectors[7, 2] = 0, np.nan
    built, _, _ = _build(tmp_path, vectors, IndexSettings(shard_items=16))
    assert {(f.item_id, f.reason) for f in built.failed} == {
        ("item-00003", "zero_vector"),
        ("item-00007", "not_finite"),
    }
    assert (built.totals.items_in, built.totals.items_out, built.totals.rejected) == (40, 38, 2)


def test_build_index_with_an_item_lost_fails_the_ledger(tmp_path: Path) -> None:
    manifest = _write_embeddings(tmp_path / "embeddings", _vectors(40), "cosine")
    path = tmp_path / "embeddings" / manifest.files[0].name
    pq.write_table(pq.read_table(path).slice(1), path)
    (tmp_path / "parts").mkdir()
    given = open_embeddings(tmp_path / "embeddings", None, "cosine")
    options = PipelineOptions(["--runner=FnApiRunner", "--direct_running_mode=in_memory"])
    with pytest.raises(LedgerError, match="40 items went in, but 39"):
        build_index(given, tmp_path / "parts", IndexSettings(shard_items=16), options)


def test_plan_shards_numbers_rows_by_prefix_sums() -> None:
    files = [ShardFile(ShardKey(c, p), "", n, 0, b"") for c, p, n in ((1, 0, 5), (0, 1, 3), (0, 0, 2))]
    assert [(p.file.key, p.first_row) for p in plan_shards(files)] == [((0, 0), 0), ((0, 1), 2), ((1, 0), 5)]


def test_read_embeddings_leaves_the_split_behind(tmp_path: Path) -> None:
    built, _, version = _build(tmp_path, _vectors(20), IndexSettings(shard_items=16))
    assemble_version(version, str(tmp_path / "parts"), built.outcome.plans)
    assert pq.read_schema(version / "items.parquet").names == ["row", "item_id", "digest", "label"]


def test_write_examples_refuses_elements_of_the_wrong_type(tmp_path: Path) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner", "--direct_running_mode=in_memory"]))
    words = pipeline | beam.Create(["no reference"])
    with pytest.raises(beam.typehints.TypeCheckError):
        words | WriteExamples(
            ShardJob(str(tmp_path), str(tmp_path), 1, MediaShape("image", "uint8", (16, 16, 1)), Bounds(20, 2**30))
        )


def test_build_index_with_more_upper_items_than_a_worker_takes_is_refused(tmp_path: Path) -> None:
    _write_embeddings(tmp_path / "embeddings", _vectors(200), "cosine")
    given = open_embeddings(tmp_path / "embeddings", None, "cosine")
    with pytest.raises(UsageError, match=r"some 12 of 200 items .* 10 are allowed: raise index\.m"):
        BuildIndex(given, str(tmp_path), IndexSettings(upper_items=10))
    BuildIndex(given, str(tmp_path), IndexSettings(upper_items=10, layout="routed"))
