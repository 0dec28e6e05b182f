"""Retrieval on the validation items, which chooses the epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim_transforms.quality.retrieval import retrieval_metrics
from sim_transforms.settings.training import TrainSettings

Array = np.ndarray[Any, Any]

# Of items without labels: whether two views of one find each other (trainer/collapse.py).
_WITHOUT_LABELS = "knn_probe"


def validation_metrics(vectors: Array, labels: Sequence[str]) -> dict[str, float]:
    """Leave-one-out retrieval among [n, d] unit vectors of the validation items."""
    return retrieval_metrics(vectors, labels, vectors, labels, "cosine", exclude_self=True)


def chosen_name(settings: TrainSettings) -> str:
    """The metric that chooses the epoch: `train.select_by`, or the k-NN probe where no labels are trained on."""
    return settings.select_by if settings.loss != "none" else _WITHOUT_LABELS


def chosen_metric(metrics: Mapping[str, float], settings: TrainSettings) -> float:
    """The metric `chosen_name`."""
    return metrics[chosen_name(settings)]


def is_better(metrics: Mapping[str, float], best: Mapping[str, float] | None, settings: TrainSettings) -> bool:
    """Whether the chosen metric is at least that of the best epoch: a tie goes to the later one.

    The self-supervised term goes on teaching what unseen classes need when the known ones are all found already
    (measured on digits: README of the trainer), so the earlier epoch would be the worse choice.
    """
    return best is None or chosen_metric(metrics, settings) >= chosen_metric(best, settings)
