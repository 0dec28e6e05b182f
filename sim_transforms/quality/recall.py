"""Recall of an index against exact search, with its interval, and the ef_search that reaches a target."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sim_transforms.errors import RecallError
from sim_transforms.quality.intervals import wilson_interval
from sim_transforms.records.manifests import RecallInterval

Array = np.ndarray[Any, Any]

LADDER = (
    *(10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400),
    *(512, 640, 800, 1000, 1280, 1600, 2000),
)
RAISE = "raise index.m, index.ef_construction or index.neighbor_shards"
_ONE_SIDED_95 = 1.644854
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
    """Mean recall@k over the queries with its 95 % interval; see `interval_of`."""
    return interval_of(tie_aware_recall(found, exact), k, ef_search)


def interval_of(recalls: Array, k: int, ef_search: int) -> RecallInterval:
    """Mean of [q] recalls@k with its 95 % interval (`wilson_interval`)."""
    mean, count = float(recalls.mean()), len(recalls)
    low, high = wilson_interval(mean, count)
    return RecallInterval(k, ef_search, round(mean, 6), round(low, 6), round(high, 6), count)


def sure_recall(recalls: Array) -> float:
    """The recall that the whole catalog reaches with 95 % confidence: the mean less 1.64 of its standard errors.

    By how much the [q] recalls differ, not by the widest that they could: so the error of the sample is allowed for,
    and a target of 0.99 can still be shown on few queries.
    """
    count = len(recalls)
    error = float(recalls.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    # Rounded, so that a mean which is the target is not below it by its last bit.
    return round(float(recalls.mean()) - _ONE_SIDED_95 * error, 9)


# A pilot on so many queries says where on the ladder to begin: the low rungs would be measured for nothing.
PILOT_QUERIES, _PILOT_RUNGS = 100, 2


def choose_ef(
    measure: Callable[[int, int | None], Array],
    target: float,
    k: int,
    maximum: int = LADDER[-1],
    advice: str = RAISE,
) -> RecallInterval:
    """The smallest ef_search of a ladder at which the target is reached for sure (`sure_recall`).

    Recall is taken to grow with ef_search: rungs far below the one that a pilot finds are not measured.

    Args:
        measure: (ef_search, queries) -> [q] recall@k of the first so many queries, all where null.
        target: index.recall_target.
        k: neighbours of each query.
        maximum: of ef_search.
        advice: what to raise where none reaches it.

    Raises:
        RecallError: none up to `maximum` reaches it; says what to raise, which is `advice`.
    """
    rungs = [ef for ef in LADDER if k <= ef <= maximum]
    reached = (number for number, ef in enumerate(rungs) if measure(ef, PILOT_QUERIES).mean() >= target)
    at = max(0, next(reached, len(rungs) - 1) - _PILOT_RUNGS)
    recalls = measure(rungs[at], None)
    while at > 0 and sure_recall(recalls) >= target:
        below = measure(rungs[at - 1], None)
        if sure_recall(below) < target:
            return interval_of(recalls, k, rungs[at])
        at, recalls = at - 1, below
    while sure_recall(recalls) < target:
        if at + 1 == len(rungs):
            sure = f"{recalls.mean():.6f} ({sure_recall(recalls):.6f} for sure) on {len(recalls)} queries"
            raise RecallError(
                f"recall@{k} is {sure} at ef_search {rungs[at]}, below index.recall_target {target}: the version "
                f"is not published; {advice}, or lower the target"
            )
        at += 1
        recalls = measure(rungs[at], None)
    return interval_of(recalls, k, rungs[at])
