"""MultiSimilarity loss (Wang et al. 2019, "Multi-Similarity Loss with General Pair Weighting")."""

from typing import Any

import keras
from keras import ops


def multi_similarity(
    labels: Any, embeddings: Any, alpha: float = 2.0, beta: float = 40.0, base: float = 0.5, margin: float = 0.1
) -> Any:
    """Mean loss of a batch.

    Pairs are mined first: a negative counts if it is nearer than the farthest positive plus `margin`, a positive if it
    is farther than the nearest negative less `margin`. An anchor without such pairs adds 0; so a batch of one class, or
    of identical vectors, gives a finite loss.

    Args:
        labels: [b] int32.
        embeddings: [b, d] float, unit length.
        alpha, beta: weights of positives and negatives.
        base: similarity at which both weigh the same.
        margin: of the mining.

    Returns:
        Scalar.
    """
    similarities = ops.matmul(embeddings, ops.transpose(embeddings))
    same = ops.equal(ops.expand_dims(labels, 1), ops.expand_dims(labels, 0))
    itself = ops.eye(ops.shape(labels)[0], dtype="bool")
    positives = ops.logical_and(same, ops.logical_not(itself))
    negatives = ops.logical_not(same)
    positives, negatives = _mine(similarities, positives, negatives, margin)
    pull = _log_sum(-alpha * (similarities - base), positives) / alpha
    push = _log_sum(beta * (similarities - base), negatives) / beta
    return ops.mean(pull + push)


def _mine(similarities: Any, positives: Any, negatives: Any, margin: float) -> tuple[Any, Any]:
    low = ops.min(ops.where(positives, similarities, 2.0), axis=1, keepdims=True)
    high = ops.max(ops.where(negatives, similarities, -2.0), axis=1, keepdims=True)
    hard_negatives = ops.logical_and(negatives, similarities + margin > low)
    hard_positives = ops.logical_and(positives, similarities - margin < high)
    return hard_positives, hard_negatives


def _log_sum(exponents: Any, mask: Any) -> Any:
    """log(1 + sum of exp over the mask) a row, without overflow."""
    masked = ops.where(mask, exponents, -1e9)
    zeros = ops.zeros_like(masked[:, :1])
    return ops.logsumexp(ops.concatenate([masked, zeros], axis=1), axis=1)


@keras.saving.register_keras_serializable(package="ruiji")
class MultiSimilarity(keras.losses.Loss):
    """`multi_similarity` as a Keras loss: `y_true` [b] class numbers, `y_pred` [b, d] unit vectors."""

    def __init__(
        self, alpha: float = 2.0, beta: float = 40.0, base: float = 0.5, margin: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(**{"name": "multi_similarity", "reduction": None, **kwargs})
        self.parameters = {"alpha": alpha, "beta": beta, "base": base, "margin": margin}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Mean loss of the batch."""
        return multi_similarity(y_true, y_pred, **self.parameters)

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {**super().get_config(), **self.parameters}
