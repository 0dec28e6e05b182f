"""Scores class by class, and intervals of means."""

import numpy as np
import pytest

from sim_transforms.quality.classes import class_scores
from sim_transforms.quality.intervals import wilson_interval
from sim_transforms.quality.retrieval import METRICS


def test_class_scores_are_the_means_of_each_class_the_worst_first() -> None:
    labels = np.array(["b", "a", "b", "c", "a", "b"])
    scores = {name: np.arange(6) / 10 for name in METRICS} | {"precision_at_1": np.array([1.0, 0, 0, 1, 1, 0])}
    table = class_scores(labels, scores, np.array(["a", "c", "c", "d"]), ["a", "b"])
    assert table.column("label").to_pylist() == ["b", "a", "c"]
    assert table.column("precision_at_1").to_pylist() == [0.333333, 0.5, 1.0]
    assert table.column("map_at_r").to_pylist() == pytest.approx([0.7 / 3, 0.25, 0.3], abs=1e-6)
    assert table.column("queries").to_pylist() == [3, 2, 1]
    assert table.column("gallery").to_pylist() == [0, 1, 2]
    assert table.column("known").to_pylist() == [True, True, False]
    for row in table.to_pylist():
        assert row["low"] <= row["precision_at_1"] <= row["high"]


def test_class_scores_of_equal_precision_are_in_the_order_of_the_names() -> None:
    labels = np.array(["z", "y", "x"])
    table = class_scores(labels, {name: np.ones(3) for name in METRICS}, labels, [])
    assert table.column("label").to_pylist() == ["x", "y", "z"]


def test_class_scores_of_no_queries_are_an_empty_table() -> None:
    table = class_scores(np.zeros(0, dtype=str), {name: np.zeros(0) for name in METRICS}, np.array(["a"]), ["a"])
    assert (table.num_rows, table.column_names[0]) == (0, "label")


@pytest.mark.parametrize(
    ("mean", "count", "low", "high"),
    # Newcombe 1998, table I (Wilson without a correction for continuity).
    [
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0.0, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_ones(mean: float, count: int, low: float, high: float) -> None:
    assert wilson_interval(mean, count) == pytest.approx((low, high), abs=6e-5)


def test_wilson_interval_of_nothing_is_everything() -> None:
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
