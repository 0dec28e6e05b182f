"""SimSiam (Chen & He 2021, "Exploring Simple Siamese Representation Learning")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import unit
from trainer.self_supervised.heads import mlp
from trainer.self_supervised.objective import Part, ViewObjective


def negative_cosine(predicted: Any, wanted: Any) -> Any:
    """Minus the mean cosine of [b, d] to [b, d]; what is wanted has no gradient."""
    return -ops.mean(ops.sum(unit(predicted) * unit(ops.stop_gradient(wanted)), axis=1))


class SimSiam(ViewObjective):
    """Each view's prediction of the other view's projection.

    Args:
        hidden: width of the projector.
        bottleneck: width of the predictor's middle; narrow, as the paper has it.
        predictor: without it nothing keeps all views from one point.
    """

    def __init__(self, hidden: int = 128, bottleneck: int = 32, predictor: bool = True) -> None:
        super().__init__("simsiam")
        self.hidden, self.bottleneck, self.has_predictor = hidden, bottleneck, predictor

    def build_for(self, network: keras.Model, dimension: int, part: Part, seed: int) -> None:
        """Projector and predictor."""
        self.projector = mlp(dimension, (self.hidden, self.hidden), seed, "projector", norm_last=True)
        sizes = (self.bottleneck, self.hidden)
        self.predictor = mlp(self.hidden, sizes, seed + 10, "predictor") if self.has_predictor else None

    def call(self, vectors: list[Any], features: list[Any]) -> Any:
        """Mean of both directions."""
        projected = [self.projector(view, training=True) for view in vectors]
        predicted = self.predicted(projected)
        first, second = (negative_cosine(*pair) for pair in zip(predicted, reversed(projected), strict=True))
        return (first + second) / 2.0
