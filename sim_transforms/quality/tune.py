"""Measures how M, ef_construction and ef_search trade recall for speed, size and build time, and recommends a row.

On a sample of the user's own vectors, with held-out queries that are never indexed. Not the last word on ef_search: it
grows with the catalog, and every index job measures it again on its own file.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import UsageError
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.quality.estimate import index_bytes
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.quality.recall import LADDER, recall_interval
from sim_transforms.quality.sample import Drawn
from sim_transforms.records.manifests import RecallInterval
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

K = 10
MAX_EF = 2000
# The fastest pass counts, being the least disturbed; short passes are repeated until their sum tells something.
PASSES, PASSES_SECONDS = 5, 0.3
# Queries are at most this share of what was drawn, so that a small catalog is not all queries.
QUERY_SHARE = 0.2
# Speeds this near to the best are the same: a smaller file or a shorter build is worth more than 5 % of a query.
NEAR_BEST = 0.95


@dataclass(frozen=True)
class Trial:
    """The vectors of one tuning.

    Attributes:
        base: [n, d] float32, indexed.
        queries: [q, d] float32, prepared for the space, never indexed.
        exact: [q, k] float32 distances of the exact neighbours, as the commands show them.
        items: of the whole catalog, which sizes and build times are carried to.
    """

    base: Array
    queries: Array
    exact: Array
    items: int


@dataclass(frozen=True)
class TuneRow:
    """One pair of M and ef_construction at the smallest ef_search that reaches the target, or at the best recall.

    Attributes:
        recall_at_1, recall_at_10: measured on the held-out queries; at 10, or at all items where there are fewer.
        reaches_target: whether recall@10 is at least index.recall_target.
        queries_per_second: on one thread, over the sample's index.
        index_bytes: of index.hnsw for the whole catalog, by the file format.
        sample_core_seconds: build of the sample, over all threads.
        build_core_seconds: the same carried linearly to the whole catalog.
    """

    m: int
    ef_construction: int
    ef_search: int
    recall_at_1: RecallInterval
    recall_at_10: RecallInterval
    reaches_target: bool
    queries_per_second: float
    index_bytes: int
    sample_core_seconds: float
    build_core_seconds: float


def make_trial(drawn: Drawn, queries: int, items: int, space: str) -> Trial:
    """Holds out the items of the lowest hashes as queries and finds their exact neighbours among the others.

    Args:
        drawn: items in the order of their hashes, none that the index would reject.
        queries: wanted; at most a fifth of what was drawn.
        items: of the whole catalog.
        space: of the index.

    Raises:
        UsageError: fewer than 10 items.
    """
    if len(drawn.item_ids) < K:
        raise UsageError(f"found {len(drawn.item_ids)} items that can be indexed; at least {K} are needed to tune")
    count = min(queries, int(QUERY_SHARE * len(drawn.item_ids)))
    asked = space_of(space).prepare(drawn.vectors[:count])
    base = space_of(space).prepare(drawn.vectors[count:])
    _, native = exact_neighbors(asked, base, K, space)
    return Trial(base, asked, space_of(space).to_distances(native), items)


def grid(m: Sequence[int], ef_construction: Sequence[int], settings: IndexSettings) -> list[IndexSettings]:
    """Settings of every pair, ascending and without doubles.

    Raises:
        UsageError: a value that IndexSettings refuses.
    """
    pairs = [(a, b) for a in sorted(set(m)) for b in sorted(set(ef_construction))]
    try:
        return [replace(settings, m=a, ef_construction=b) for a, b in pairs]
    except ValueError as error:
        raise UsageError(f"found m {list(m)} and ef_construction {list(ef_construction)}; {error}") from error


def measure_row(trial: Trial, settings: IndexSettings, folder: Path) -> TuneRow:
    """Builds the sample in the empty `folder` and measures it."""
    path = folder / "tune.hnsw"
    began = time.process_time()
    build_whole(trial.base, settings, path)
    spent = time.process_time() - began
    searcher = NativeSearcher(path, settings.space, *trial.base.shape)
    at_one, at_ten = smallest_ef(_recalls(searcher, trial), settings.recall_target, trial.exact.shape[1])
    return TuneRow(
        settings.m,
        settings.ef_construction,
        at_ten.ef_search,
        at_one,
        at_ten,
        at_ten.recall >= settings.recall_target,
        _speed(searcher, trial, at_ten.ef_search),
        index_bytes(trial.items, trial.base.shape[1], settings.m),
        round(spent, 3),
        round(spent * trial.items / len(trial.base), 1),
    )


Recalls = Callable[[int], tuple[RecallInterval, RecallInterval]]


def _recalls(searcher: NativeSearcher, trial: Trial) -> Recalls:
    k = trial.exact.shape[1]

    def measure(ef: int) -> tuple[RecallInterval, RecallInterval]:
        _, found = searcher.search(trial.queries, k, ef)
        at_one = recall_interval(found[:, :1], trial.exact[:, :1], 1, ef)
        return at_one, recall_interval(found, trial.exact, k, ef)

    return measure


def smallest_ef(measure: Recalls, target: float, k: int) -> tuple[RecallInterval, RecallInterval]:
    """(recall@1, recall@k) at the first ef_search of the ladder that reaches the target.

    Where none does up to 2,000: at the first one of the highest recall.
    """
    best: tuple[RecallInterval, RecallInterval] | None = None
    for ef in (ef for ef in LADDER if k <= ef <= MAX_EF):
        found = measure(ef)
        if best is None or found[1].recall > best[1].recall:
            best = found
        if found[1].recall >= target:
            return found
    assert best is not None
    return best


def _speed(searcher: NativeSearcher, trial: Trial, ef_search: int) -> float:
    """Queries a second on one thread, in the fastest pass."""
    seconds: list[float] = []
    while len(seconds) < PASSES or sum(seconds) < PASSES_SECONDS:
        began = time.perf_counter()
        searcher.search(trial.queries, trial.exact.shape[1], ef_search)
        seconds.append(time.perf_counter() - began)
    return round(len(trial.queries) / min(seconds), 1)


def recommend(rows: Sequence[TuneRow]) -> TuneRow:
    """The row to take.

    Of the rows that reach the target, those within 5 % of the most queries a second; of these the smallest file, then
    the shortest build, then the smaller M and ef_construction. Where no row reaches the target, the row of the highest
    recall@10, then the same order.
    """
    reaching = [row for row in rows if row.reaches_target]
    if not reaching:
        highest = max(row.recall_at_10.recall for row in rows)
        return min((row for row in rows if row.recall_at_10.recall == highest), key=_cost)
    best = max(row.queries_per_second for row in reaching)
    return min((row for row in reaching if row.queries_per_second >= NEAR_BEST * best), key=_cost)


def _cost(row: TuneRow) -> tuple[int, float, int, int]:
    return row.index_bytes, row.build_core_seconds, row.m, row.ef_construction
