"""Distances between embeddings, as objects: a loss is handed one and never asks which.

Each answers twice: as a distance (small is near) for losses that are stated in distances, and as a similarity (large is
near) for those that are stated in similarities. All arithmetic is in float32, whatever comes in.
"""

from typing import Any

import keras
from keras import ops

from trainer.configured import Configured

# Under a root it keeps the gradient finite: at two equal points a distance has none of its own.
_TINY = 1e-12


class Distance(Configured):
    """Between the rows of two matrices."""

    def __call__(self, a: Any, b: Any) -> Any:
        """[n, d], [m, d] -> [n, m] float32, small is near."""
        return self.between(ops.cast(a, "float32"), ops.cast(b, "float32"))

    def similarity(self, a: Any, b: Any) -> Any:
        """[n, d], [m, d] -> [n, m] float32, large is near: minus the distance, where there is nothing better known."""
        return -self(a, b)

    def between(self, a: Any, b: Any) -> Any:
        """[n, d], [m, d] float32 -> [n, m]."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="ruiji")
class CosineDistance(Distance):
    """1 - cos, from 0 to 2; its similarity is the cosine. Embeddings need not be of unit length."""

    def between(self, a: Any, b: Any) -> Any:
        """1 - cos."""
        return 1.0 - ops.matmul(unit(a), ops.transpose(unit(b)))

    def similarity(self, a: Any, b: Any) -> Any:
        """The cosine."""
        return 1.0 - self(a, b)


@keras.saving.register_keras_serializable(package="ruiji")
class InnerProductDistance(Distance):
    """Minus the inner product; its similarity is the product."""

    def between(self, a: Any, b: Any) -> Any:
        """Minus the product."""
        return -ops.matmul(a, ops.transpose(b))


@keras.saving.register_keras_serializable(package="ruiji")
class SquaredEuclideanDistance(Distance):
    """Sum of the squared differences."""

    def between(self, a: Any, b: Any) -> Any:
        """Squares, by the product: never below 0, though rounding would bring them there."""
        squares = ops.sum(ops.square(a), axis=1)[:, None] + ops.sum(ops.square(b), axis=1)[None]
        return ops.maximum(squares - 2.0 * ops.matmul(a, ops.transpose(b)), 0.0)


@keras.saving.register_keras_serializable(package="ruiji")
class EuclideanDistance(SquaredEuclideanDistance):
    """Root of the sum of the squared differences."""

    def between(self, a: Any, b: Any) -> Any:
        """The root, with gradient 0 where two points are one."""
        squares = super().between(a, b)
        apart = squares > _TINY
        return ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)


@keras.saving.register_keras_serializable(package="ruiji")
class ManhattanDistance(Distance):
    """Sum of the absolute differences; holds n x m x d numbers."""

    def between(self, a: Any, b: Any) -> Any:
        """The sum."""
        return ops.sum(ops.abs(a[:, None] - b[None]), axis=2)


@keras.saving.register_keras_serializable(package="ruiji")
class SignalToNoiseDistance(Distance):
    """Variance of the difference over the variance of the first (Yuan et al. 2019, "Signal-to-noise Ratio").

    The first is the anchor: it is not symmetric.
    """

    def between(self, a: Any, b: Any) -> Any:
        """[n, m]; an anchor without variance counts as one of a tiny variance."""
        centred, others = a - ops.mean(a, axis=1, keepdims=True), b - ops.mean(b, axis=1, keepdims=True)
        noise = SquaredEuclideanDistance().between(centred, others)
        return noise / ops.maximum(ops.sum(ops.square(centred), axis=1), 1e-6)[:, None]


def unit(vectors: Any) -> Any:
    """[n, d] -> the same of unit length; a zero vector stays one, with a finite gradient."""
    return vectors / ops.sqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), _TINY))


DISTANCES: dict[str, type[Distance]] = {
    "cosine": CosineDistance,
    "euclidean": EuclideanDistance,
    "squared_euclidean": SquaredEuclideanDistance,
    "manhattan": ManhattanDistance,
    "inner_product": InnerProductDistance,
    "signal_to_noise": SignalToNoiseDistance,
}
