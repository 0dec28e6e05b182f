"""The distance under which a neighbour counts as a match, chosen on validation items."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim_transforms.records.manifests import Calibration

Array = np.ndarray[Any, Any]


def calibrate(vectors: Array, labels: Sequence[str], target: float) -> Calibration | None:
    """The largest distance at which pairs of validation items are of one class with precision `target`.

    Args:
        vectors: [n, d] float32, unit length.
        labels: of the items.
        target: share of right pairs among those nearer than the threshold.

    Returns:
        Threshold as cosine distance (1 - cos), or null where no threshold reaches the target.
    """
    names = np.asarray(labels, dtype=str)
    first, second = np.triu_indices(len(names), k=1)
    cosine = (vectors @ vectors.T)[first, second].astype(np.float64)
    order = np.lexsort((first, -cosine))
    right = np.cumsum((names[first] == names[second])[order])
    precision = right / np.arange(1, len(order) + 1)
    # Equal distances stand or fall together: only the last of each run is a threshold.
    last = np.append(np.diff(cosine[order]) != 0, True)
    good = np.flatnonzero((precision >= target) & last)
    if not len(good):
        return None
    place = int(good[-1])
    return Calibration(
        max_distance=round(float(1 - cosine[order][place]), 6),
        target_precision=target,
        precision=round(float(precision[place]), 6),
        recall=round(float(right[place] / max(right[-1], 1)), 6),
    )
