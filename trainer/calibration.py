"""The distance beyond which search answers "no match", chosen on validation items.

Chosen by what search does: it answers with the nearest item. Each validation item is asked among the train items of all
labels, once with its class there and once without it (`quality.open_set`): an answer is right where the nearest item is
of the query's class. Pairs of any two items would not do: the nearest of a thousand strangers is far nearer than a
stranger drawn at random, and a threshold of such pairs refuses next to nothing.
"""

from typing import Any

import numpy as np

from sim_transforms.quality.open_set import OpenSet
from sim_transforms.records.manifests import Calibration, ReliabilityBin

Array = np.ndarray[Any, Any]

_BINS = 20


def calibrate(answers: OpenSet, gallery: int, target: float | None) -> Calibration | None:
    """A threshold of the distance of the nearest item.

    Args:
        answers: of the validation items.
        gallery: items that they were asked among.
        target: of the distances at which the answers, half of the queries being without their class, are right with
            this precision, the threshold is the one of the highest recall, and of several the nearest: where nothing
            right is found any more, there is nothing to answer. Null for the distance of the best F1 instead.

    Returns:
        Null where no threshold reaches the target, or nothing was asked.
    """
    distances = np.concatenate([answers.present, answers.absent])
    order = np.argsort(distances, kind="stable")
    right = np.concatenate([answers.right, np.zeros(len(answers.absent), bool)])[order]
    distances, found = distances[order], np.cumsum(right)
    if not len(found) or not found[-1]:
        return None
    precision, recall = found / np.arange(1, len(order) + 1), found / len(answers.rows)
    f1 = 2.0 * precision * recall / np.maximum(precision + recall, 1e-12)
    # Equal distances stand or fall together: only the last of each run is a threshold.
    last = np.append(np.diff(distances) != 0, True)
    good = np.flatnonzero((precision >= target) & last) if target is not None else [np.argmax(np.where(last, f1, -1.0))]
    if not len(good):
        return None
    place = int(good[np.searchsorted(found[good], found[good[-1]])]) if target is not None else int(good[0])
    return Calibration(
        max_distance=_rounded_up(float(distances[place])),
        target_precision=target,
        precision=round(float(precision[place]), 6),
        recall=round(float(recall[place]), 6),
        f1=round(float(f1[place]), 6),
        gallery=gallery,
        reliability=_reliability(distances, right),
    )


def _rounded_up(distance: float) -> float:
    """Six digits, not below the distance itself, which is a match."""
    return float(np.ceil(distance * 1e6) / 1e6)


def _reliability(distances: Array, right: Array) -> tuple[ReliabilityBin, ...]:
    """Bins of equal width over the distances that there are; empty ones are left out."""
    edges = np.linspace(distances[0], distances[-1], _BINS + 1)[1:]
    ends = np.searchsorted(distances, edges, side="right")
    ends[-1] = len(distances)
    starts = np.append(0, ends[:-1])
    return tuple(
        ReliabilityBin(round(float(edge), 6), int(end - start), round(float(right[start:end].mean()), 6))
        for edge, start, end in zip(edges, starts, ends, strict=True)
        if end > start
    )
