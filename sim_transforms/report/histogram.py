"""Histograms of what is told of files, as plain bars."""

import itertools
import math
from typing import Any

import numpy as np

from sim_transforms.report.media_data import Bar, Histogram

Array = np.ndarray[Any, Any]

BINS = 16
# A quantity of so few values is shown value by value; one that spans more than so many times, in steps of a factor.
_FEW, _WIDE = 12, 20.0


def histogram(title: str, values: Array, unit: str = "") -> Histogram:
    """Counts values in at most BINS bins, all of one width, or of one factor where they span a wide range.

    Args:
        title: of the quantity.
        values: [n] numbers, finite.
        unit: stands behind the numbers of the note.
    """
    if not len(values):
        return Histogram(title, "no files", ())
    low, middle, high = (float(v) for v in (values.min(), np.median(values), values.max()))
    behind = f" {unit}" if unit else ""
    note = f"{number(low)} to {number(high)}{behind}, median {number(middle)}{behind}"
    known, counts = np.unique(values, return_counts=True)
    if len(known) <= _FEW:
        bars = tuple(Bar(number(float(v)), int(n)) for v, n in zip(known, counts, strict=True))
        return Histogram(title, note, bars)
    edges = np.geomspace(low, high, BINS + 1) if low > 0 and high / low > _WIDE else np.linspace(low, high, BINS + 1)
    edges[0], edges[-1] = low, high
    counts, _ = np.histogram(values, edges)
    texts = [f"{number(float(a))} to {number(float(b))}" for a, b in itertools.pairwise(edges)]
    return Histogram(title, note, tuple(Bar(text, int(n)) for text, n in zip(texts, counts, strict=True)))


def number(value: float) -> str:
    """Four digits that count, with commas; large values by k and M."""
    for scale, sign in ((1e9, "G"), (1e6, "M"), (1e5, "k")):
        if abs(value) >= scale:
            divided = value / (1e3 if sign == "k" else scale)
            return f"{divided:.3g}{sign}" if divided < 1000 else f"{divided:,.0f}{sign}"
    if value == round(value):
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"
