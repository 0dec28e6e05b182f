"""Retrieval by class: are the nearest items of a query of its own class?

Measures the model, by exact search, so that the error of an index cannot mix with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_transforms.quality.exact import Floats, exact_neighbors

# Queries times depth of a block: what is held at once does not grow with the largest class.
_BLOCK_HITS = 2**22
_MOST_ROWS = 1024
_DEEPEST = 10

# Of each query, in this order.
METRICS = ("precision_at_1", "precision_at_5", "recall_at_10", "map_at_r", "r_precision", "mrr", "bndcg")


@dataclass(frozen=True)
class RetrievalScores:
    """Scores query by query.

    Attributes:
        rows: [s] queries that could be scored: something in the gallery has their label.
        scores: metric -> [s] float64, from 0 to 1.
        left_out: queries that could not be scored.
    """

    rows: NDArray[np.int64]
    scores: dict[str, NDArray[np.float64]]
    left_out: int

    def means(self) -> dict[str, float]:
        """Mean of each metric, `queries` that were scored, and `queries_without_relevant`, left out of every mean.

        Where no query could be scored, all are 0.
        """
        means = {name: float(values.mean()) if len(values) else 0.0 for name, values in self.scores.items()}
        return {**means, "queries": float(len(self.rows)), "queries_without_relevant": float(self.left_out)}


def retrieval_metrics(
    queries: Floats,
    query_labels: Sequence[str],
    gallery: Floats,
    gallery_labels: Sequence[str],
    space: str,
    *,
    exclude_self: bool = False,
) -> dict[str, float]:
    """Means of `retrieval_scores` over the queries, as `RetrievalScores.means` gives them.

    Raises:
        ValueError: as `retrieval_scores`.
    """
    return retrieval_scores(queries, query_labels, gallery, gallery_labels, space, exclude_self=exclude_self).means()


def retrieval_scores(
    queries: Floats,
    query_labels: Sequence[str],
    gallery: Floats,
    gallery_labels: Sequence[str],
    space: str,
    *,
    exclude_self: bool = False,
) -> RetrievalScores:
    """Metrics of metric learning, of each query, from 0 to 1.

    Gallery items of the query's label are relevant; R is how many there are. Equal distances are ranked by position
    in the gallery.

    - `precision_at_1`, `precision_at_5`: share of relevant items among the 1 and 5 nearest (always divided by 1, 5).
    - `recall_at_10`: whether there is a relevant item among the 10 nearest (Recall@K of Oh Song et al. 2016; not the
      share of an index's exact neighbours, which `quality.recall` measures).
    - `map_at_r`: 1/R times the sum over the ranks i <= R that are relevant of the precision at i (Musgrave et al.
      2020, "A Metric Learning Reality Check").
    - `r_precision`: share of relevant items among the R nearest.
    - `mrr`: one over the rank of the first relevant item, 0 where it is beyond rank max(R, 10).
    - `bndcg`: DCG at R with gains of 0 and 1 over its largest (Järvelin & Kekäläinen 2002).

    Args:
        queries: [q, d] float32.
        query_labels: q labels.
        gallery: [g, d] float32.
        gallery_labels: g labels.
        space: `cosine`, `l2` or `inner_product`.
        exclude_self: the gallery is the queries, in the same order, and no query may find itself.

    Raises:
        ValueError: numbers of labels and vectors differ, or `exclude_self` with a gallery of another length.
    """
    _check(queries, query_labels, gallery, gallery_labels, exclude_self)
    wanted, offered = _numbers(query_labels, gallery_labels)
    relevant = np.bincount(offered, minlength=int(wanted.max(initial=0)) + 1)[wanted] - int(exclude_self)
    scored = np.flatnonzero(relevant > 0)
    # Queries of classes of one size together: a block is as deep as its largest class.
    order = scored[np.argsort(relevant[scored], kind="stable")]
    table = np.zeros((len(queries), len(METRICS)))
    start = 0
    while start < len(order):
        deepest = max(int(relevant[order[min(start + _MOST_ROWS, len(order)) - 1]]), _DEEPEST)
        rows = order[start : start + max(1, min(_MOST_ROWS, _BLOCK_HITS // deepest))]
        depth = max(int(relevant[rows].max()), _DEEPEST)
        near = _nearest(queries[rows], gallery, depth, space, rows if exclude_self else None)
        table[rows] = _scores(offered[near] == wanted[rows, None], relevant[rows])
        start += len(rows)
    scores = {name: table[scored, column] for column, name in enumerate(METRICS)}
    return RetrievalScores(scored, scores, len(queries) - len(scored))


def _check(
    queries: Floats, query_labels: Sequence[str], gallery: Floats, gallery_labels: Sequence[str], same: bool
) -> None:
    for name, vectors, labels in (("query", queries, query_labels), ("gallery", gallery, gallery_labels)):
        if len(vectors) != len(labels):
            raise ValueError(f"{name}: found {len(vectors)} vectors and {len(labels)} labels; as many are expected")
    if same and len(queries) != len(gallery):
        raise ValueError(f"exclude_self: found {len(queries)} queries and {len(gallery)} gallery items")


def _numbers(query_labels: Sequence[str], gallery_labels: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    number = {label: i for i, label in enumerate(sorted({*query_labels, *gallery_labels}))}
    wanted = np.array([number[label] for label in query_labels], np.int64)
    return wanted, np.array([number[label] for label in gallery_labels], np.int64)


def _nearest(
    queries: Floats, gallery: Floats, depth: int, space: str, own: NDArray[np.int64] | None
) -> NDArray[np.int32]:
    """Gallery rows of the `depth` nearest, without the query's own row where `own` [q] gives it."""
    if own is None:
        return exact_neighbors(queries, gallery, depth, space)[0]
    rows = exact_neighbors(queries, gallery, depth + 1, space)[0]
    # Behind enough duplicates the own row may be missing; then the last of the others is dropped instead.
    others = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(rows, others, axis=1)


def _scores(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    """[q, metrics] float64 of hits [q, depth] in order of rank; `relevant` [q] is R, at least 1."""
    ranks = np.arange(1, hits.shape[1] + 1)
    within = ranks <= relevant[:, None]
    counted = hits & within
    map_at_r = (np.cumsum(hits, axis=1) / ranks * counted).sum(axis=1) / relevant
    seen = hits & (ranks <= np.maximum(relevant, _DEEPEST)[:, None])
    mrr = np.where(seen.any(axis=1), 1.0 / (1 + seen.argmax(axis=1)), 0.0)
    gains = 1.0 / np.log2(ranks + 1)
    ideal = np.cumsum(gains)[np.minimum(relevant, hits.shape[1]) - 1]
    first_ten = hits[:, :_DEEPEST].any(axis=1)
    columns = [hits[:, 0], hits[:, :5].sum(axis=1) / 5, first_ten, map_at_r]
    return np.stack([*columns, counted.sum(axis=1) / relevant, mrr, (gains * counted).sum(axis=1) / ideal], axis=1)
