"""The recall/speed curve as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim_transforms.report.data import CurvePoint

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 300, 56, 44, 18, 24


@dataclass(frozen=True)
class Mark:
    """A place in the drawing: `x`, `y` in its units, and text."""

    x: float
    y: float
    text: str
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Tick marks of both axes, and where they stand."""

    x_ticks: tuple[Mark, ...]
    y_ticks: tuple[Mark, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP
    base: int = HEIGHT - BOTTOM
    right: int = WIDTH - RIGHT


@dataclass(frozen=True, kw_only=True)
class Drawing(Axes):
    """What the template draws: points from left to right, the line through them, and the axes."""

    points: tuple[Mark, ...]
    line: str


def draw_curve(points: Sequence[CurvePoint], chosen: int) -> Drawing | None:
    """Recall (x) against queries a second (y, logarithmic); null without points."""
    if not points:
        return None
    low = min(0.98, math.floor(min(p.recall for p in points) * 50) / 50)
    bottom, top = _decade(points)
    marks = tuple(
        Mark(_x(p.recall, low), _y(p.queries_per_second, bottom, top), f"ef {p.ef_search}", p.ef_search == chosen)
        for p in points
    )
    line = " ".join(f"{m.x:.1f},{m.y:.1f}" for m in marks)
    marks = _thin(marks)
    steps = [low + (1 - low) * i / 4 for i in range(5)]
    x_ticks = tuple(Mark(_x(s, low), HEIGHT - BOTTOM, f"{s:.3f}") for s in steps)
    values = [v for e in range(0, 9) for v in (10**e, 2 * 10**e, 5 * 10**e) if bottom <= v <= top]
    y_ticks = tuple(Mark(LEFT, _y(v, bottom, top), f"{v:,}") for v in values)
    return Drawing(points=marks, line=line, x_ticks=x_ticks, y_ticks=y_ticks)


def _thin(marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """Leaves out names that would stand over another one; the chosen point keeps its own."""
    shown: list[Mark] = []
    for mark in sorted(marks, key=lambda m: not m.chosen):
        crowded = any(abs(mark.x - o.x) < 48 and abs(mark.y - o.y) < 14 and o.text for o in shown)
        shown.append(replace(mark, text="") if crowded else mark)
    return tuple(sorted(shown, key=marks_order))


def marks_order(mark: Mark) -> tuple[float, float]:
    """From left to right, then from fast to slow."""
    return mark.x, mark.y


def _decade(points: Sequence[CurvePoint]) -> tuple[float, float]:
    speeds = [max(p.queries_per_second, 1.0) for p in points]
    return min(speeds) / 1.6, max(speeds) * 1.6


def _x(recall: float, low: float) -> float:
    return round(LEFT + (recall - low) / max(1 - low, 1e-9) * (WIDTH - LEFT - RIGHT), 1)


def _y(speed: float, bottom: float, top: float) -> float:
    share = math.log(max(speed, 1.0) / bottom) / math.log(top / bottom)
    return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)
