"""Retrieval by class: are the nearest items of a query of its own class?

Measures the model, by exact search, so that the error of an index cannot mix with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim_transforms.quality.exact import Floats, exact_neighbors

_BLOCK = 1024
_DEEPEST = 10


def retrieval_metrics(
    queries: Floats,
    query_labels: Sequence[str],
    gallery: Floats,
    gallery_labels: Sequence[str],
    space: str,
    *,
    exclude_self: bool = False,
) -> dict[str, float]:
    """Metrics of metric learning, each the mean over the queries, from 0 to 1.

    Gallery items of the query's label are relevant; R is how many there are. Equal distances are ranked by position
    in the gallery.

    - `precision_at_1`, `precision_at_5`: share of relevant items among the 1 and 5 nearest (always divided by 1, 5).
    - `recall_at_10`: share of queries with at least one relevant item among the 10 nearest (Recall@K of Oh Song et
      al. 2016; not the share of an index's exact neighbours, which `quality.recall` measures).
    - `map_at_r`: 1/R times the sum over the ranks i <= R that are relevant of the precision at i (Musgrave et al.
      2020, "A Metric Learning Reality Check").
    - `queries`: how many were scored.
    - `queries_without_relevant`: how many were left out of every mean, as nothing in the gallery has their label.

    Where no query can be scored, `queries` and all means are 0.

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
    scores = []
    for start in range(0, len(scored), _BLOCK):
        rows = scored[start : start + _BLOCK]
        depth = max(int(relevant[rows].max()), _DEEPEST)
        near = _nearest(queries[rows], gallery, depth, space, rows if exclude_self else None)
        scores.append(_scores(offered[near] == wanted[rows, None], relevant[rows]))
    means = np.concatenate(scores).mean(axis=0) if scores else np.zeros(4)
    names = ("precision_at_1", "precision_at_5", "recall_at_10", "map_at_r")
    metrics = {name: float(mean) for name, mean in zip(names, means, strict=True)}
    left_out = float(len(queries) - len(scored))
    return {**metrics, "queries": float(len(scored)), "queries_without_relevant": left_out}


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
    """[q, 4] float64 of hits [q, depth] in order of rank; `relevant` [q] is R, at least 1."""
    ranks = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(hits, axis=1) / ranks
    counted = hits & (ranks <= relevant[:, None])
    map_at_r = (precision * counted).sum(axis=1) / relevant
    first_ten = hits[:, :_DEEPEST].any(axis=1)
    return np.stack([hits[:, 0], hits[:, :5].sum(axis=1) / 5, first_ten, map_at_r], axis=1)
