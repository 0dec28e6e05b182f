"""The formulas of an estimate against files and processes that were really made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sim_transforms.assign_shards import plan_shards, write_group
from sim_transforms.build_shards import build, graph_path
from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.link import LinkedShard
from sim_transforms.hnsw.whole import build_whole, shard_rows
from sim_transforms.link_shards import linked_path, save_linked
from sim_transforms.quality import estimate
from sim_transforms.quality.estimate import (
    Inputs,
    Outcome,
    SampleTimes,
    Workers,
    compare,
    expected_shards,
    grouped_bytes,
    index_bytes,
    predict,
    sample_items,
    sample_settings,
    shuffled_bytes,
    with_seconds,
    worker_bytes,
)
from sim_transforms.records.batches import ShardPlan, column_of
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered
from tests.unit.quality.memory_probe import peak_of

INPUTS = Inputs(items=1_000_000, dimension=64, row_bytes=20.0, embeddings_bytes=1)
TWO = Workers(count=2, local=False)
TIMES = SampleTimes(
    items=1_000,
    shards=3,
    build_core_seconds=2.0,
    upper_items=1_000,
    upper_core_seconds=0.0,
    cell_core_seconds=0.0,
    exact_core_seconds=0.0,
    byte_core_seconds=0.0,
    measure_seconds=0.0,
)


@pytest.mark.parametrize(("items", "dimension", "m"), [(500, 32, 16), (700, 30, 8), (1, 4, 2), (0, 4, 16)])
@pytest.mark.parametrize("space", ["l2", "inner_product"])
def test_index_bytes_with_the_levels_of_a_file_is_its_size(
    items: int, dimension: int, m: int, space: str, tmp_path: Path
) -> None:
    path = tmp_path / "index.hnsw"
    settings = IndexSettings(space=space, m=m, ef_construction=20, shard_items=200)
    build_whole(clustered(items, dimension), settings, path)
    levels = int(read_index(path).levels.sum())
    assert index_bytes(items, dimension, m, levels) == path.stat().st_size


@pytest.mark.parametrize("m", [8, 16])
def test_index_bytes_by_expected_levels_is_within_two_per_cent(m: int, tmp_path: Path) -> None:
    path = tmp_path / "index.hnsw"
    build_whole(clustered(2000, 16), IndexSettings(m=m, ef_construction=20, shard_items=500), path)
    assert index_bytes(2000, 16, m) == pytest.approx(path.stat().st_size, rel=0.02)


def _shard_files(folder: Path, items: int, settings: IndexSettings) -> tuple[list[ShardPlan], float]:
    table = pa.table({"item_id": [f"item-{i}" for i in range(items)], "embedding": column_of(clustered(items, 32))})
    row_bytes = table.select(["item_id"]).nbytes / items
    plans = plan_shards(write_group((0, table.to_batches()), str(folder), settings.shard_items, settings))
    return plans, row_bytes


def test_predict_bytes_of_shard_files_and_graphs_are_those_written(tmp_path: Path) -> None:
    settings = IndexSettings(shard_items=1000, ef_construction=20)
    plans, row_bytes = _shard_files(tmp_path, 2000, settings)
    inputs = Inputs(items=2000, dimension=32, row_bytes=row_bytes, embeddings_bytes=1)
    for plan in plans:
        build(plan, settings)
        links = np.zeros((plan.file.items, 2 * settings.m), np.int32)
        save_linked(LinkedShard(0, links, links.astype(np.float32)), plan)
    found = predict(inputs, settings, TWO)
    shards = sum(Path(plan.file.path).stat().st_size for plan in plans)
    graphs = sum(Path(graph_path(p)).stat().st_size + linked_path(p).stat().st_size for p in plans)
    assert found.shard_files_bytes == pytest.approx(shards, rel=0.02)
    assert found.graphs_bytes == pytest.approx(graphs, rel=0.02)


def test_predict_disk_is_the_sum_of_what_stands_at_the_peak() -> None:
    found = predict(INPUTS, IndexSettings(), TWO)
    version = found.index_bytes + 1_000_000 * 24
    assert found.disk_bytes == found.shard_files_bytes + found.graphs_bytes + found.index_bytes + 2 * version


def test_expected_shards_are_within_a_third_of_those_of_a_partition() -> None:
    settings = IndexSettings(shard_items=150)
    vectors = clustered(3000, 16)
    made = len(shard_rows(vectors, [str(row) for row in range(3000)], settings))
    assert expected_shards(3000, settings) == pytest.approx(made, rel=0.33)


@pytest.mark.parametrize(("items", "shards"), [(0, 0), (1, 1), (150, 1), (151, 2)])
def test_expected_shards_of_a_few_items(items: int, shards: int) -> None:
    assert expected_shards(items, IndexSettings(shard_items=150)) == shards


def test_shuffled_bytes_are_linear_in_items_and_grow_with_neighbour_shards() -> None:
    double = replace(INPUTS, items=2_000_000)
    settings = IndexSettings()
    assert shuffled_bytes(double, settings) == pytest.approx(2 * shuffled_bytes(INPUTS, settings), rel=0.01)
    further = shuffled_bytes(INPUTS, replace(settings, neighbor_shards=3)) - shuffled_bytes(INPUTS, settings)
    assert further == 1_000_000 * (4 * 64 + 4 + 4 + 8 * 8)


def test_worker_bytes_of_a_larger_catalog_grow_in_partition_and_upper_layers_alone() -> None:
    small, large = (worker_bytes(replace(INPUTS, items=n), IndexSettings()) for n in (1_000_000, 10_000_000))
    assert {stage for stage in small if small[stage] != large[stage]} == {"partition", "upper"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["assign", "link"])
def test_worker_bytes_are_within_an_eighth_of_a_process_that_was_measured(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "UNEVEN", 1.0)  # the group that is written holds just the cap
    inputs = Inputs(items=60_000, dimension=128, row_bytes=14.0, embeddings_bytes=1)
    predicted = worker_bytes(inputs, IndexSettings(shard_items=20_000))[stage]
    peak_of(stage, 600, 128, 16)  # numba's cache is filled
    assert peak_of(stage, 20_000, 128, 16) == pytest.approx(predicted, rel=0.125)


def test_predict_on_a_local_runner_what_is_shuffled_waits_on_disk() -> None:
    local = predict(INPUTS, IndexSettings(), Workers(count=2, local=True))
    away = predict(INPUTS, IndexSettings(), TWO)
    assert local.disk_bytes == away.disk_bytes + grouped_bytes(INPUTS, IndexSettings())
    assert grouped_bytes(INPUTS, IndexSettings()) < away.shuffled_bytes
    assert local.worker_peak_bytes == away.worker_peak_bytes


def test_predict_in_one_process_worker_and_driver_are_the_same() -> None:
    found = predict(INPUTS, IndexSettings(), Workers(count=1, local=True, in_process=True))
    assert found.worker_peak_bytes == found.driver_peak_bytes


@pytest.mark.parametrize(
    ("items", "drawn"), [(50, 50), (2_000, 2_000), (100_000, 2_000), (700_050, 7_001), (10_000_000, 20_000)]
)
def test_sample_is_one_per_cent_within_its_bounds(items: int, drawn: int) -> None:
    assert sample_items(items) == drawn


def test_sample_settings_cut_into_shards_only_what_the_catalog_is_cut_into() -> None:
    settings = IndexSettings(shard_items=1000, neighbor_shards=2)
    assert sample_settings(500, 900, settings).shards == 1
    assert sample_settings(2000, 100_000, settings).shards == 3


def _seconds(workers: int = 1, **times: float) -> float:
    settings = IndexSettings(m=16)
    figures = predict(INPUTS, settings, Workers(count=workers, local=False))
    found = with_seconds(figures, replace(TIMES, **times), settings).seconds
    assert found is not None
    return found - figures.start_seconds


def test_with_seconds_carries_the_build_to_all_items() -> None:
    assert _seconds() == pytest.approx(2_000)


def test_with_seconds_divides_shards_in_whole_rounds() -> None:
    shards = predict(INPUTS, IndexSettings(), TWO).shards
    assert _seconds(workers=shards) == pytest.approx(2_000 / shards, abs=0.1)
    assert _seconds(workers=shards - 1) == pytest.approx(2 * 2_000 / shards, abs=0.1)


def test_with_seconds_upper_layers_are_not_divided() -> None:
    # 1,000,000 / 16 items at 1 ms each, which the chain no longer counts; and again where shards are measured.
    assert _seconds(upper_core_seconds=1.0) == pytest.approx(2_000 + 62.5)
    assert _seconds(workers=1000, upper_core_seconds=1.0) >= 62.5


def test_with_seconds_adds_cells_exact_search_publishing_and_the_model() -> None:
    figures = predict(INPUTS, IndexSettings(), TWO)
    rounds = -(-figures.shards // 2) / figures.shards
    plain = _seconds(workers=2)
    assert _seconds(workers=2, cell_core_seconds=1e-6) - plain == pytest.approx(
        2 * 1_000_000 * (figures.shards - 3) * 1e-6 * rounds, abs=0.1
    )
    assert _seconds(workers=2, exact_core_seconds=1e-7) - plain == pytest.approx(110 * rounds, abs=0.1)
    assert _seconds(workers=2, byte_core_seconds=1e-7) - plain == pytest.approx(3e-7 * figures.index_bytes, abs=0.1)
    assert _seconds(workers=2, embed_core_seconds=1e-3) - plain == pytest.approx(500, abs=0.1)


def test_compare_gives_ratios_of_what_is_known() -> None:
    figures = predict(INPUTS, IndexSettings(), TWO)
    outcome = Outcome(shards=2 * figures.shards, index_bytes=figures.index_bytes, disk_bytes=0, seconds=5.0)
    rows = {row.name: row for row in compare(figures, outcome)}
    assert list(rows) == ["shards", "index_bytes", "disk_bytes"]  # no seconds: there was no sample
    assert (rows["shards"].ratio, rows["index_bytes"].ratio, rows["disk_bytes"].ratio) == (2.0, 1.0, 0.0)


def test_compare_with_seconds_and_memory_names_them_too() -> None:
    figures = with_seconds(predict(INPUTS, IndexSettings(), TWO), TIMES, IndexSettings())
    outcome = Outcome(shards=1, index_bytes=1, disk_bytes=1, worker_peak_bytes=7, seconds=1.0)
    assert [row.name for row in compare(figures, outcome)][-2:] == ["worker_peak_bytes", "seconds"]
