"""Intervals of means: how far a figure of some queries may be from that of all."""

import math

_Z95 = 1.959964


def wilson_interval(mean: float, count: int) -> tuple[float, float]:
    """95 % interval of the mean of `count` independent scores from 0 to 1 (Wilson 1927).

    Exact for shares. Scores in between vary at most as much as a coin of the same mean, so that theirs is never too
    narrow; at a mean of 0 or 1 it has a width too, as a few right answers do not show that all are right.
    """
    if count == 0:
        return 0.0, 1.0
    centre = (mean + _Z95**2 / (2 * count)) / (1 + _Z95**2 / count)
    spread = mean * (1 - mean) / count + _Z95**2 / (4 * count**2)
    half = _Z95 / (1 + _Z95**2 / count) * math.sqrt(max(spread, 0.0))
    return max(0.0, centre - half), min(1.0, centre + half)
