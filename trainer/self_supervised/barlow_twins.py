"""Barlow Twins (Zbontar et al. 2021, "Self-Supervised Learning via Redundancy Reduction")."""

from typing import Any

import keras
from keras import ops

from trainer.self_supervised.heads import mlp
from trainer.self_supervised.objective import Part, ViewObjective


def barlow_twins(first: Any, second: Any, off_diagonal: float) -> Any:
    """Sum of the squares by which the cross-correlation of two views, over the batch, differs from the identity.

    Args:
        first, second: [b, d] float32 of views of the same items.
        off_diagonal: weight of what lies off the diagonal.
    """
    count = ops.cast(ops.shape(first)[0], "float32")
    correlation = ops.matmul(ops.transpose(_standardised(first)), _standardised(second)) / count
    diagonal = ops.eye(first.shape[1], dtype="bool")
    on = ops.sum(ops.where(diagonal, ops.square(correlation - 1.0), 0.0))
    return on + off_diagonal * ops.sum(ops.where(diagonal, 0.0, ops.square(correlation)))


def _standardised(values: Any) -> Any:
    centred = values - ops.mean(values, axis=0, keepdims=True)
    return centred / ops.sqrt(ops.mean(ops.square(centred), axis=0, keepdims=True) + 1e-5)


class BarlowTwins(ViewObjective):
    """`barlow_twins` of what an expander makes of the two views, over the number of its dimensions.

    Args:
        size: of the expander's output.
        off_diagonal: the paper's.
    """

    def __init__(self, size: int = 128, off_diagonal: float = 0.005) -> None:
        super().__init__("barlow_twins")
        self.size, self.off_diagonal = size, off_diagonal

    def build_for(self, network: keras.Model, dimension: int, part: Part, seed: int) -> None:
        """The expander."""
        self.expander = mlp(dimension, (self.size, self.size), seed, "expander")

    def call(self, vectors: list[Any], features: list[Any]) -> Any:
        """The loss."""
        first, second = (self.expander(view, training=True) for view in vectors)
        return barlow_twins(first, second, self.off_diagonal) / self.size
