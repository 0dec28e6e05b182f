import math
from typing import Any

import numpy as np
import pytest

from benchmarks.curves import (
    Point,
    Truth,
    distances_of,
    find_truth,
    measure_curves,
    median_curve,
    point_at,
    recall,
    speed_at_recall,
)

CURVE = (Point(10, 0.7, 0.8, 4_000.0), Point(20, 0.8, 0.9, 1_000.0), Point(40, 0.9, 0.9, 500.0))
LINE = np.array([[0.0], [1.0], [2.0], [4.0], [1.0]], np.float32)


class _Oracle:
    """Answers with the same rows whatever is asked; notes what it was asked for."""

    def __init__(self, rows: np.ndarray[Any, Any], log: list[tuple[str, int]], name: str) -> None:
        self._rows, self._log, self._name = rows, log, name

    def answers(self, queries: np.ndarray[Any, Any], k: int, ef: int) -> Any:
        self._log.append((self._name, ef))
        return self._rows

    def rows(self, answers: Any) -> Any:
        return answers


def test_speed_at_a_recall_between_two_points_is_their_geometric_mean() -> None:
    assert speed_at_recall(CURVE, 0.85) == pytest.approx(math.sqrt(4_000 * 1_000))


def test_speed_at_a_recall_between_two_points_is_a_line_over_the_logarithm_of_ef() -> None:
    share = 0.25  # of the way in recall is the same of the way in log(ef), and in log(speed)
    assert speed_at_recall(CURVE, 0.8 + share * 0.1) == pytest.approx(4_000 * (1_000 / 4_000) ** share)


@pytest.mark.parametrize(("wanted", "speed"), [(0.8, 4_000.0), (0.9, 1_000.0)])
def test_speed_at_a_measured_recall_is_that_of_the_lowest_ef(wanted: float, speed: float) -> None:
    assert speed_at_recall(CURVE, wanted) == speed


@pytest.mark.parametrize("wanted", [0.7, 0.95])
def test_speed_at_a_recall_outside_of_the_curve_is_null(wanted: float) -> None:
    assert speed_at_recall(CURVE, wanted) is None


def test_distances_of_rows_that_stand_twice_or_are_absent_are_infinite() -> None:
    found = distances_of(LINE, LINE[:1], np.array([[2, 2, -1]]), inner_product=False)
    assert sorted(found[0]) == [4.0, math.inf, math.inf]


def test_distances_of_inner_products_are_minus_the_product() -> None:
    found = distances_of(LINE, np.array([[3.0]], np.float32), np.array([[1, 3]]), inner_product=True)
    assert found.tolist() == [[-3.0, -12.0]]


def test_recall_of_a_duplicate_in_place_of_the_exact_row_counts() -> None:
    truth = Truth(LINE, LINE[1:2], np.array([[0.0]]), False)
    assert recall(truth, np.array([[4]]), 1) == 1.0


def test_recall_of_answers_beyond_the_exact_ones_counts_their_share() -> None:
    truth = Truth(LINE, LINE[:1], np.array([[0.0, 1.0]]), False)
    assert recall(truth, np.array([[0, 3]]), 2) == 0.5


@pytest.mark.parametrize("space", ["l2", "inner_product"])
def test_truth_of_few_vectors_equals_a_full_sort(space: str) -> None:
    generator = np.random.default_rng(0)
    items, queries = (generator.standard_normal((n, 4), dtype=np.float32) for n in (60, 5))
    wide = items.astype(np.float64)[None], queries.astype(np.float64)[:, None]
    whole = -(wide[0] * wide[1]).sum(axis=2) if space == "inner_product" else np.square(wide[0] - wide[1]).sum(axis=2)
    truth = find_truth(items, queries, space)
    np.testing.assert_allclose(truth.distances, np.sort(whole, axis=1)[:, :10], rtol=1e-12)


def test_measured_curves_of_two_systems_take_turns_at_each_step() -> None:
    log: list[tuple[str, int]] = []
    rows = np.arange(10)[None, :]
    items = np.arange(20, dtype=np.float32)[:, None]
    truth = find_truth(items, items[:1], "l2")
    ticks = iter(range(1_000))
    both = {name: _Oracle(rows, log, name) for name in ("a", "b")}
    curves = measure_curves(both, truth, efs=(10, 20), passes=2, clock=lambda: float(next(ticks)))
    assert log == [("a", 10), ("b", 10), *[("a", 10), ("b", 10), ("a", 20), ("b", 20)] * 2]
    assert curves["a"] == (Point(10, 1.0, 1.0, 1.0), Point(20, 1.0, 1.0, 1.0))


def test_median_curve_of_three_builds_takes_each_figure_apart() -> None:
    builds = [(Point(10, *figures),) for figures in ((0.1, 0.9, 5.0), (0.2, 0.7, 6.0), (0.3, 0.8, 1.0))]
    assert median_curve(builds) == (Point(10, 0.2, 0.8, 5.0),)


def test_point_at_an_ef_that_was_not_measured_names_those_that_were() -> None:
    with pytest.raises(KeyError, match="10, 20, 40 were"):
        point_at(CURVE, 100)
