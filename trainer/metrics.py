"""Retrieval on the validation items, which chooses the epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim_transforms.quality.retrieval import retrieval_metrics

Array = np.ndarray[Any, Any]


def validation_metrics(vectors: Array, labels: Sequence[str]) -> dict[str, float]:
    """Leave-one-out retrieval among [n, d] unit vectors of the validation items."""
    return retrieval_metrics(vectors, labels, vectors, labels, "cosine", exclude_self=True)


def is_better(metrics: dict[str, float], best: dict[str, float] | None) -> bool:
    """Whether precision@1 has risen, or MAP@R at the same precision@1; a tie leaves the earlier epoch."""
    if best is None:
        return True
    names = ("precision_at_1", "map_at_r")
    return tuple(metrics[n] for n in names) > tuple(best[n] for n in names)
