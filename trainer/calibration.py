"""The distance under which a neighbour counts as a match, chosen on validation items.

Chosen by all pairs of them, not by nearest neighbours: a query of a class that is not indexed has nearest neighbours
too, and what tells it apart is that pairs of two classes are rarely so near.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim_transforms.records.manifests import Calibration, ReliabilityBin

Array = np.ndarray[Any, Any]

# Pairs of so many items, the first ones, are some two million: more would not move a threshold.
_MOST_ITEMS = 2_000
_BINS = 20


def calibrate(vectors: Array, labels: Sequence[str], target: float | None) -> Calibration | None:
    """A threshold of the distance of pairs of validation items.

    Args:
        vectors: [n, d] float32, unit length.
        labels: of the items; those without one are left out.
        target: the threshold is the largest distance at which pairs are of one class with this precision; null for the
            distance of the best F1 instead.

    Returns:
        Threshold as cosine distance (1 - cos), or null where no threshold reaches the target or no two items are of
        one class.
    """
    rows = [row for row, label in enumerate(labels) if label][:_MOST_ITEMS]
    names = np.asarray([labels[row] for row in rows], dtype=str)
    first, second = np.triu_indices(len(names), k=1)
    cosine = (vectors[rows] @ vectors[rows].T)[first, second].astype(np.float64)
    order = np.lexsort((first, -cosine))
    same = (names[first] == names[second])[order]
    right, distances = np.cumsum(same), 1.0 - cosine[order]
    if not len(right) or not right[-1]:
        return None
    precision, recall = right / np.arange(1, len(order) + 1), right / right[-1]
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, 1e-12)
    # Equal distances stand or fall together: only the last of each run is a threshold.
    last = np.append(np.diff(distances) != 0, True)
    good = np.flatnonzero((precision >= target) & last) if target is not None else [np.argmax(np.where(last, f1, -1.0))]
    if not len(good):
        return None
    place = int(good[-1])
    return Calibration(
        max_distance=round(float(distances[place]), 6),
        target_precision=target,
        precision=round(float(precision[place]), 6),
        recall=round(float(recall[place]), 6),
        f1=round(float(f1[place]), 6),
        reliability=_reliability(distances, same),
    )


def _reliability(distances: Array, same: Array) -> tuple[ReliabilityBin, ...]:
    """Bins of equal width over the distances that there are; empty ones are left out."""
    edges = np.linspace(distances[0], distances[-1], _BINS + 1)[1:]
    ends = np.searchsorted(distances, edges, side="right")
    ends[-1] = len(distances)
    starts = np.append(0, ends[:-1])
    return tuple(
        ReliabilityBin(round(float(edge), 6), int(end - start), round(float(same[start:end].mean()), 6))
        for edge, start, end in zip(edges, starts, ends, strict=True)
        if end > start
    )
