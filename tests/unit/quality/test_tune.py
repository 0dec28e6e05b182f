"""Tuning: queries held out, the smallest ef_search, the recommendation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import UsageError
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.quality.estimate import index_bytes
from sim_transforms.quality.sample import Drawn
from sim_transforms.quality.tune import TuneRow, grid, make_trial, measure_row, recommend, smallest_ef
from sim_transforms.records.manifests import RecallInterval
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, nearest_rows, wide_distances


def _drawn(count: int) -> Drawn:
    return Drawn(tuple(f"item-{i}" for i in range(count)), clustered(count, 16))


def _interval(recall: float, ef: int = 10) -> RecallInterval:
    return RecallInterval(10, ef, recall, 0.0, 1.0, 100)


def _row(m: int, speed: float, *, reaches: bool = True, size: int = 0, build: float = 1.0) -> TuneRow:
    recall = _interval(0.99 if reaches else 0.5)
    return TuneRow(m, 100, 10, recall, recall, reaches, speed, size or m, build, build)


@pytest.mark.parametrize("space", ["cosine", "l2", "inner_product"])
def test_make_trial_exact_distances_are_those_of_the_others(space: str) -> None:
    drawn = _drawn(60)
    trial = make_trial(drawn, 10, 1000, space)
    prepared = space_of(space).prepare(drawn.vectors)
    near = nearest_rows(space, prepared[:10], prepared[10:], 10)
    native = np.take_along_axis(wide_distances(space, prepared[:10], prepared[10:]), near, axis=1)
    np.testing.assert_array_equal(trial.base, prepared[10:])
    np.testing.assert_array_equal(trial.queries, prepared[:10])
    np.testing.assert_allclose(trial.exact, space_of(space).to_distances(native), rtol=1e-4, atol=1e-5)


def test_make_trial_holds_out_at_most_a_fifth() -> None:
    trial = make_trial(_drawn(50), 1000, 50, "l2")
    assert (len(trial.queries), len(trial.base)) == (10, 40)


def test_make_trial_of_a_few_items_is_refused() -> None:
    with pytest.raises(UsageError, match="found 9 items that can be indexed; at least 10"):
        make_trial(_drawn(9), 5, 9, "l2")


def test_grid_is_every_pair_once_in_order() -> None:
    pairs = grid((16, 8, 16), (100, 50), IndexSettings(space="l2"))
    assert [(p.m, p.ef_construction) for p in pairs] == [(8, 50), (8, 100), (16, 50), (16, 100)]
    assert {p.space for p in pairs} == {"l2"}


def test_grid_with_a_value_out_of_range_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="m: from 2 to 100 is expected"):
        grid((1,), (100,), IndexSettings())


def test_smallest_ef_stops_at_the_first_that_reaches_the_target() -> None:
    asked = []

    def measure(ef: int) -> tuple[RecallInterval, RecallInterval]:
        asked.append(ef)
        return _interval(ef / 100, ef), _interval(ef / 100, ef)

    assert smallest_ef(measure, 0.2, 10)[1].ef_search == 20
    assert asked == [10, 12, 16, 20]


def test_smallest_ef_below_the_target_is_the_first_of_the_highest_recall() -> None:
    found = smallest_ef(lambda ef: (_interval(0.1, ef), _interval(min(ef, 64) / 100, ef)), 0.9, 10)
    assert (found[1].ef_search, found[1].recall) == (64, 0.64)


def test_measure_row_with_full_effort_finds_everything(tmp_path: Path) -> None:
    settings = IndexSettings(space="l2", shard_items=100, recall_target=0.9)
    trial = make_trial(_drawn(250), 50, 10_000, "l2")
    row = measure_row(trial, settings, tmp_path)
    assert row.reaches_target
    assert row.recall_at_10.recall >= 0.9
    assert row.recall_at_10.low < row.recall_at_10.recall
    assert row.index_bytes == index_bytes(10_000, 16, 16)
    assert row.build_core_seconds == pytest.approx(row.sample_core_seconds * 10_000 / 200, abs=0.1)
    assert row.queries_per_second > 0


def test_measure_row_twice_differs_in_times_alone(tmp_path: Path) -> None:
    trial = make_trial(_drawn(250), 50, 250, "cosine")
    first, second = (measure_row(trial, IndexSettings(shard_items=100), tmp_path) for _ in range(2))
    timed = {"queries_per_second": 0.0, "sample_core_seconds": 0.0, "build_core_seconds": 0.0}
    assert replace(first, **timed) == replace(second, **timed)


def test_recommend_takes_the_smallest_file_within_five_per_cent_of_the_best_speed() -> None:
    rows = [_row(8, 94.0), _row(16, 96.0), _row(24, 100.0)]
    assert recommend(rows).m == 16


def test_recommend_of_equal_files_takes_the_shortest_build() -> None:
    rows = [_row(8, 100.0, size=5, build=3.0), _row(16, 100.0, size=5, build=2.0)]
    assert recommend(rows).m == 16


def test_recommend_leaves_out_fast_rows_below_the_target() -> None:
    assert recommend([_row(8, 1000.0, reaches=False), _row(16, 10.0)]).m == 16


def test_recommend_without_any_row_that_reaches_takes_the_highest_recall() -> None:
    low, high = _row(8, 1000.0, reaches=False), _row(16, 1.0, reaches=False)
    high = replace(high, recall_at_10=_interval(0.6))
    assert recommend([low, high]) is high
