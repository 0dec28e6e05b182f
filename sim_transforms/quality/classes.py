"""Scores class by class: which classes the model finds, and which it does not."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim_transforms.quality.intervals import wilson_interval
from sim_transforms.quality.retrieval import METRICS

_SCHEMA = pa.schema(
    [
        ("label", pa.string()),
        ("known", pa.bool_()),
        ("queries", pa.int64()),
        ("gallery", pa.int64()),
        *((name, pa.float64()) for name in METRICS),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)


def class_scores(
    labels: NDArray[np.str_],
    scores: Mapping[str, NDArray[np.float64]],
    gallery_labels: NDArray[np.str_],
    known: Collection[str],
) -> pa.Table:
    """Means of the queries of each class.

    Args:
        labels: [s] of the queries that were scored.
        scores: metric -> [s], as `retrieval_scores` gives them.
        gallery_labels: [g].
        known: labels that the model was trained on.

    Returns:
        A row a class, those of the lowest precision@1, then of the lowest MAP@R, first: `label`, `known`, `queries`,
        items in the `gallery`, the metrics, and the 95 % interval of precision@1 from `low` to `high`.
    """
    names, numbers = np.unique(labels, return_inverse=True)
    queries = np.bincount(numbers, minlength=len(names))
    means = {name: np.bincount(numbers, scores[name], len(names)) / np.maximum(queries, 1) for name in METRICS}
    offered, counts = np.unique(gallery_labels, return_counts=True)
    in_gallery = dict(zip(offered.tolist(), counts.tolist(), strict=True))
    trained = frozenset(known)
    rows: list[dict[str, Any]] = []
    for place in np.lexsort((names, means["map_at_r"], means["precision_at_1"])):
        label, count = str(names[place]), int(queries[place])
        low, high = wilson_interval(float(means["precision_at_1"][place]), count)
        told = {name: round(float(means[name][place]), 6) for name in METRICS}
        of_class = {"label": label, "known": label in trained, "queries": count, "gallery": in_gallery.get(label, 0)}
        rows.append({**of_class, **told, "low": round(low, 6), "high": round(high, 6)})
    return pa.Table.from_pylist(rows, _SCHEMA)
