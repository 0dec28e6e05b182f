"""The drawing of the curve keeps its points inside, in order, and its names apart."""

import itertools

import pytest

from sim_transforms.report.curve import draw_curve
from sim_transforms.report.data import CurvePoint

_POINTS = [CurvePoint(10, 0.9, 40_000.0), CurvePoint(50, 0.97, 9_000.0), CurvePoint(200, 0.999, 2_000.0)]


def test_draw_curve_without_points_is_none() -> None:
    assert draw_curve([], 10) is None


def test_draw_curve_marks_the_chosen_point_alone() -> None:
    drawing = draw_curve(_POINTS, 50)
    assert drawing is not None
    assert [(m.text, m.chosen) for m in drawing.points] == [("ef 10", False), ("ef 50", True), ("ef 200", False)]


def test_draw_curve_puts_more_recall_right_and_more_speed_up() -> None:
    drawing = draw_curve(_POINTS, 50)
    assert drawing is not None
    for left, right in itertools.pairwise(drawing.points):
        assert left.x < right.x
        assert left.y < right.y


@pytest.mark.parametrize(
    "points",
    [
        _POINTS,
        [CurvePoint(10, 1.0, 5.0)],
        [CurvePoint(10, 0.0, 0.0), CurvePoint(20, 0.5, 3e6)],
        [CurvePoint(10, 1.0, 100.0), CurvePoint(20, 1.0, 100.0)],
    ],
)
def test_draw_curve_of_any_points_stays_inside(points: list[CurvePoint]) -> None:
    drawing = draw_curve(points, 10)
    assert drawing is not None
    for mark in (*drawing.points, *drawing.y_ticks):
        assert drawing.left <= mark.x <= drawing.right
        assert 0 <= mark.y <= drawing.base


def test_draw_curve_of_crowded_points_leaves_out_names_but_not_the_chosen() -> None:
    drawing = draw_curve([CurvePoint(ef, 1.0, 1000.0 - ef / 10) for ef in (10, 20, 30, 40)], 30)
    assert drawing is not None
    assert [m.text for m in drawing.points if m.text] == ["ef 30"]
    assert len(drawing.line.split()) == 4
