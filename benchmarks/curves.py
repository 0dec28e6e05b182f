"""Recall and speed of several opened indexes over efSearch, and speeds at equal recall.

Every system is judged by the same distances: those between the vectors that its answers name, taken in float64. So one
duplicate is as good as another, and no system gains by how it rounds.
"""

import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers import Searcher
from sim_transforms.quality.exact import exact_neighbors

Array = np.ndarray[Any, Any]

K = 10
SHOWN_EFS = (50, 100, 200)
# Close steps around those that are shown, because speeds at equal recall are read between two of them.
EFS = (10, 20, 35, 50, 70, 85, 100, 120, 140, 200, 400)
PASSES = 3
# faiss rounds in float32; this many more are taken and sorted by their distances in float64.
_SPARE = 16


@dataclass(frozen=True)
class Truth:
    """What the answers are measured against.

    Attributes:
        items, queries: the vectors, [n, d] and [q, d] float32.
        distances: [q, 10] float64 of the exact neighbours, ascending.
        inner_product: whether distances are minus the product, else squared.
    """

    items: Array
    queries: Array
    distances: Array
    inner_product: bool


@dataclass(frozen=True)
class Point:
    """A system at one efSearch."""

    ef: int
    recall_1: float
    recall_10: float
    queries_per_second: float


Curve = tuple[Point, ...]


def find_truth(items: Array, queries: Array, space: str) -> Truth:
    """Compares every query with every item; by faiss where it is installed, which is some ten times as fast."""
    inner_product = space == "inner_product"
    rows = _faiss_rows(items, queries, inner_product) if importlib.util.find_spec("faiss") else None
    if rows is None:
        rows, _ = exact_neighbors(queries, items, K, space)
    distances = np.sort(distances_of(items, queries, rows, inner_product), axis=1)[:, :K]
    return Truth(items, queries, distances, inner_product)


def _faiss_rows(items: Array, queries: Array, inner_product: bool) -> Array:
    import faiss

    metric = faiss.METRIC_INNER_PRODUCT if inner_product else faiss.METRIC_L2
    found: Array = faiss.knn(queries, items, min(K + _SPARE, len(items)), metric=metric)[1]
    return found


def distances_of(items: Array, queries: Array, rows: Array, inner_product: bool) -> Array:
    """[q, k] float64 distances of the items that [q, k] rows name; infinite where a row is -1 or stands twice."""
    ordered = np.sort(rows, axis=1)
    valid = ordered >= 0
    valid[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    found, wide = items[np.maximum(ordered, 0)].astype(np.float64), queries.astype(np.float64)[:, None, :]
    distances = -(found * wide).sum(axis=2) if inner_product else np.square(found - wide).sum(axis=2)
    return np.where(valid, distances, np.inf)


def recall(truth: Truth, rows: Array, k: int) -> float:
    """Mean share of the k nearest that stand among the first k of [q, >= k] rows."""
    found = distances_of(truth.items, truth.queries, rows[:, :k], truth.inner_product)
    return float((found <= truth.distances[:, k - 1 : k]).mean())


def measure_curves(
    searchers: Mapping[str, Searcher],
    truth: Truth,
    efs: Sequence[int] = EFS,
    passes: int = PASSES,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Curve]:
    """Searches all queries as one batch on one thread, `passes` times at each efSearch; the median counts.

    The systems take turns at each step, so that a machine that slows down slows all of them.
    """
    seconds: dict[tuple[str, int], list[float]] = {(name, ef): [] for name in searchers for ef in efs}
    recalls: dict[tuple[str, int], tuple[float, float]] = {}
    for searcher in searchers.values():
        searcher.answers(truth.queries, K, min(efs))
    for _ in range(passes):
        for ef in efs:
            for name, searcher in searchers.items():
                began = clock()
                answers = searcher.answers(truth.queries, K, ef)
                seconds[name, ef].append(clock() - began)
                if (name, ef) not in recalls:
                    rows = searcher.rows(answers)
                    recalls[name, ef] = recall(truth, rows, 1), recall(truth, rows, K)
    speeds = {key: len(truth.queries) / statistics.median(taken) for key, taken in seconds.items()}
    return {name: tuple(Point(ef, *recalls[name, ef], speeds[name, ef]) for ef in efs) for name in searchers}


def median_curve(curves: Sequence[Curve]) -> Curve:
    """Point by point the median over several builds of one system."""
    return tuple(
        Point(
            same[0].ef,
            statistics.median(p.recall_1 for p in same),
            statistics.median(p.recall_10 for p in same),
            statistics.median(p.queries_per_second for p in same),
        )
        for same in zip(*curves, strict=True)
    )


def point_at(curve: Curve, ef: int) -> Point:
    """The point of one efSearch; raises KeyError where it was not measured."""
    for point in curve:
        if point.ef == ef:
            return point
    raise KeyError(f"efSearch {ef} was not measured; {', '.join(str(p.ef) for p in curve)} were")


def speed_at_recall(curve: Curve, wanted: float) -> float | None:
    """Queries a second at the lowest efSearch that reaches the recall@10.

    Between two measured points recall and the logarithm of speed are straight lines over the logarithm of efSearch.
    Null where the curve does not reach the recall, or starts above it.
    """
    for low, high in zip((None, *curve), curve, strict=False):
        if high.recall_10 < wanted:
            continue
        if high.recall_10 == wanted:
            return high.queries_per_second
        return None if low is None else _between(low, high, wanted)
    return None


def _between(low: Point, high: Point, wanted: float) -> float:
    share = (wanted - low.recall_10) / (high.recall_10 - low.recall_10)
    slow, fast = math.log(high.queries_per_second), math.log(low.queries_per_second)
    return math.exp(fast + share * (slow - fast))
