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
    """Whether precision@1 is at least that of the best epoch: a tie goes to the later one.

    The self-supervised term goes on teaching what unseen classes need when the known ones are all found already
    (measured on digits: README of the trainer), so the earlier epoch would be the worse choice.
    """
    return best is None or metrics["precision_at_1"] >= best["precision_at_1"]
