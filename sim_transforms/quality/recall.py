"""Recall of an index against exact search, with its interval, and the ef_search that reaches a target."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sim_transforms.errors import RecallError
from sim_transforms.records.manifests import RecallInterval

Array = np.ndarray[Any, Any]

LADDER = (
    *(10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400),
    *(512, 640, 800, 1000, 1280, 1600, 2000),
)
_Z95 = 1.959964
# Matrix products and NMSLIB round differently: distances this close, relatively and absolutely, are the same.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-6


def tie_aware_recall(found: Array, exact: Array) -> Array:
    """[q] share of the exact neighbours that were found, by distance, so that one duplicate is as good as another.

    Args:
        found: [q, k] float32 distances of the answers, infinite where there is none.
        exact: [q, k] float32 distances of the exact neighbours, ascending, infinite where there are fewer than k.
    """
    wanted = np.isfinite(exact).sum(axis=1)
    farthest = np.max(np.where(np.isfinite(exact), exact, -np.inf), axis=1, initial=-np.inf)
    limit = farthest + _ABSOLUTE + _RELATIVE * np.abs(farthest)
    hits = (found <= limit[:, None]).sum(axis=1)
    return np.asarray(np.minimum(hits, wanted) / np.maximum(wanted, 1))


def drop_self(found: Array, distances: Array, rows: Array, k: int) -> Array:
    """Distances [q, k] of the k nearest of [q, k + 1] answers `found` that are not the query's own row of [q]."""
    others = np.where(found == rows[:, None], np.float32(np.inf), distances)
    return np.sort(others, axis=1)[:, :k]


def recall_interval(found: Array, exact: Array, k: int, ef_search: int) -> RecallInterval:
    """Mean recall@k over the queries with its 95 % interval.

    The interval is Wilson's for the mean of q independent queries: recalls lie within [0, 1], so their variance is at
    most that of a coin of the same mean, and the interval is never too narrow.
    """
    recalls = tie_aware_recall(found, exact)
    mean, count = float(recalls.mean()), len(recalls)
    centre = (mean + _Z95**2 / (2 * count)) / (1 + _Z95**2 / count)
    half = _Z95 / (1 + _Z95**2 / count) * math.sqrt(mean * (1 - mean) / count + _Z95**2 / (4 * count**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return RecallInterval(k, ef_search, round(mean, 6), round(low, 6), round(high, 6), count)


def choose_ef(
    measure: Callable[[int], RecallInterval], target: float, k: int, maximum: int = LADDER[-1]
) -> RecallInterval:
    """The smallest ef_search of a ladder whose measured recall reaches the target.

    The point estimate decides: with the lower end of the interval a target of 0.99 could not be shown on fewer than
    some 400 queries, whatever the index.

    Raises:
        RecallError: none up to `maximum` reaches it; says what to raise.
    """
    best: RecallInterval | None = None
    for ef in (ef for ef in LADDER if k <= ef <= maximum):
        best = measure(ef)
        if best.recall >= target:
            return best
    shown = (
        "nothing was measured" if best is None else f"recall@{best.k} is {best.recall} at ef_search {best.ef_search}"
    )
    raise RecallError(
        f"{shown}, below index.recall_target {target}: the version is not published; raise index.m, "
        "index.ef_construction or index.neighbor_shards, or lower the target"
    )
