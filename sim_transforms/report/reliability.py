"""What a distance means: the share of answers that are right, by the distance of the nearest item, as SVG."""

import itertools
from dataclasses import dataclass

from sim_transforms.records.manifests import Calibration
from sim_transforms.report.curve import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axes, Mark

_TICKS = 4


@dataclass(frozen=True)
class Bar:
    """A bin: its place in the units of the drawing, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, kw_only=True)
class ReliabilityDrawing(Axes):
    """Bars from the nearest answers to the farthest, the threshold as a line at `limit`, and the axes."""

    bars: tuple[Bar, ...]
    limit: float


def draw_reliability(calibration: Calibration | None) -> ReliabilityDrawing | None:
    """Null without bins, of models that were trained before they were told."""
    if calibration is None or not calibration.reliability:
        return None
    edges = [each.max_distance for each in calibration.reliability]
    # Bins are of one width; empty ones are left out.
    width = min((after - edge for edge, after in itertools.pairwise(edges)), default=max(edges[0], 0.0))
    scale = (0.0 if edges[0] >= 0.0 else edges[0] - width), max(edges[-1], calibration.max_distance, 1e-9)
    bars = []
    for each in calibration.reliability:
        begin, end = _x(max(each.max_distance - width, scale[0]), scale), _x(each.max_distance, scale)
        y = _y(each.precision)
        text = f"up to {each.max_distance:.3f}: {each.precision:.1%} of {each.answers:,} answers right"
        bars.append(Bar(begin, y, round(max(end - begin, 0.5), 1), round(HEIGHT - BOTTOM - y, 1), text))
    steps = [step / _TICKS for step in range(_TICKS + 1)]
    places = [scale[0] + step * (scale[1] - scale[0]) for step in steps]
    x_ticks = tuple(Mark(_x(place, scale), HEIGHT - BOTTOM, f"{place:.2f}") for place in places)
    y_ticks = tuple(Mark(LEFT, _y(step), f"{step:.0%}") for step in steps)
    limit = _x(calibration.max_distance, scale)
    return ReliabilityDrawing(bars=tuple(bars), limit=limit, x_ticks=x_ticks, y_ticks=y_ticks)


def _x(distance: float, scale: tuple[float, float]) -> float:
    return round(LEFT + (distance - scale[0]) / (scale[1] - scale[0]) * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)
