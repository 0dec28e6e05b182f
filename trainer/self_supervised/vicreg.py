"""VICReg (Bardes et al. 2022, "Variance-Invariance-Covariance Regularization for Self-Supervised Learning")."""

from typing import Any

import keras
from keras import ops

from trainer.self_supervised.heads import mlp
from trainer.self_supervised.objective import Part, ViewObjective


def vicreg(first: Any, second: Any, invariance: float, variance: float, covariance: float) -> Any:
    """Views of an item are one point, every dimension varies by 1 over the batch, and no two vary together.

    Args:
        first, second: [b, d] float32 of views of the same items.
        invariance, variance, covariance: weights of the three terms.
    """
    apart = ops.mean(ops.square(first - second))
    narrow = (_narrowness(first) + _narrowness(second)) / 2.0
    together = _covariance(first) + _covariance(second)
    return invariance * apart + variance * narrow + covariance * together


def _narrowness(values: Any) -> Any:
    """Mean over the dimensions of how far the standard deviation is below 1."""
    variances = ops.var(values, axis=0) * _unbiased(values)
    return ops.mean(ops.relu(1.0 - ops.sqrt(variances + 1e-4)))


def _covariance(values: Any) -> Any:
    """Sum of the squared covariances of different dimensions, over their number."""
    centred = values - ops.mean(values, axis=0, keepdims=True)
    matrix = ops.matmul(ops.transpose(centred), centred) / ops.cast(ops.shape(values)[0], "float32")
    matrix = matrix * _unbiased(values)
    size = values.shape[1]
    return ops.sum(ops.where(ops.eye(size, dtype="bool"), 0.0, ops.square(matrix))) / size


def _unbiased(values: Any) -> Any:
    """b / (b - 1)."""
    count = ops.cast(ops.shape(values)[0], "float32")
    return count / ops.maximum(count - 1.0, 1.0)


class VicReg(ViewObjective):
    """`vicreg` of what an expander makes of the two views, over the weight of the invariance.

    Args:
        size: of the expander's output.
        invariance, variance, covariance: the paper's.
    """

    def __init__(
        self, size: int = 128, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
    ) -> None:
        super().__init__("vicreg")
        self.size, self.weights_of = size, (invariance, variance, covariance)

    def build_for(self, network: keras.Model, dimension: int, part: Part, seed: int) -> None:
        """The expander."""
        self.expander = mlp(dimension, (self.size, self.size), seed, "expander")

    def call(self, vectors: list[Any], features: list[Any]) -> Any:
        """The loss."""
        first, second = (self.expander(view, training=True) for view in vectors)
        return vicreg(first, second, *self.weights_of) / self.weights_of[0]
