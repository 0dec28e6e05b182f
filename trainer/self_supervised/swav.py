"""SwAV (Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import unit
from trainer.self_supervised.heads import mlp
from trainer.self_supervised.objective import Part, ViewObjective
from trainer.self_supervised.sinkhorn import sinkhorn


def swapped_prediction(logits: list[Any], codes: list[Any], temperature: float) -> Any:
    """Mean cross entropy of each global view's code and what every other view makes of the prototypes.

    Args:
        logits: of all views, [b, k] similarities to the prototypes, the global ones first.
        codes: of the global views, [b, k], rows of sum 1.
        temperature: of the predictions.
    """
    terms = []
    for number, code in enumerate(codes):
        others = [view for place, view in enumerate(logits) if place != number]
        predicted = [ops.log_softmax(view / temperature, axis=1) for view in others]
        terms += [-ops.mean(ops.sum(ops.stop_gradient(code) * view, axis=1)) for view in predicted]
    return sum(terms) / len(terms)


class Swav(ViewObjective):
    """`swapped_prediction` of learned prototypes, over two views and any number of small crops.

    Args:
        local_views: small crops.
        prototypes: how many; some times as many as there may be classes, fewer than a batch's items.
        hidden, size: widths of the projector.
        temperature: of the predictions.
        epsilon: of the codes.
    """

    def __init__(
        self,
        local_views: int = 0,
        prototypes: int = 60,
        hidden: int = 128,
        size: int = 64,
        temperature: float = 0.1,
        epsilon: float = 0.05,
    ) -> None:
        super().__init__("swav", local_views)
        self.count, self.hidden, self.size = prototypes, hidden, size
        self.temperature, self.epsilon = temperature, epsilon

    def build_for(self, network: keras.Model, dimension: int, part: Part, seed: int) -> None:
        """Projector and prototypes."""
        self.projector = mlp(dimension, (self.hidden, self.size), seed, "projector")
        initializer = keras.initializers.RandomNormal(seed=seed + 10)
        self.prototypes = self.add_weight(shape=(self.count, self.size), initializer=initializer, name="prototypes")

    def call(self, vectors: list[Any], features: list[Any]) -> Any:
        """The loss; the prototypes count as of unit length."""
        prototypes = ops.transpose(unit(ops.convert_to_tensor(self.prototypes)))
        logits = [ops.matmul(unit(self.projector(view, training=True)), prototypes) for view in vectors]
        codes = [sinkhorn(ops.stop_gradient(view), self.epsilon, 3) for view in logits[: self.views]]
        return swapped_prediction(logits, codes, self.temperature)
