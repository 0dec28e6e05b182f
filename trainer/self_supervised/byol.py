"""BYOL (Grill et al. 2020, "Bootstrap Your Own Latent"): predictions of what a slowly following target network sees."""

import math
from typing import Any

import keras
from keras import ops

from trainer.self_supervised.heads import mlp
from trainer.self_supervised.objective import Part, ViewObjective
from trainer.self_supervised.simsiam import negative_cosine


def momentum(step: Any, total: int, first: float) -> Any:
    """How much of the target is kept after a step: from `first` by half a cosine to 1."""
    done = ops.cast(step, "float32") / max(1, total)
    return 1.0 - (1.0 - first) * (ops.cos(math.pi * done) + 1.0) / 2.0


class Byol(ViewObjective):
    """Each view's prediction of the target's projection of the other view.

    The target is a copy of the network and its projector: no gradient reaches it, its weights follow by an exponential
    mean, and its batch normalisation takes the statistics of the batch.

    Args:
        hidden: width of projector and predictor.
        size: of the projections.
        first_momentum: of the target at the beginning.
        predictor: without it nothing but batch normalisation keeps items apart.
    """

    def __init__(
        self, hidden: int = 128, size: int = 64, first_momentum: float = 0.995, predictor: bool = True
    ) -> None:
        super().__init__("byol")
        self.hidden, self.size, self.first_momentum, self.has_predictor = hidden, size, first_momentum, predictor

    def build_for(self, network: keras.Model, dimension: int, part: Part, seed: int) -> None:
        """Projector, predictor, and the copies."""
        self.part = part
        sizes = (self.hidden, self.size)
        self.projector = mlp(dimension, sizes, seed, "projector", norm_last=True)
        self.predictor = mlp(self.size, sizes, seed + 10, "predictor") if self.has_predictor else None
        self.target = keras.models.clone_model(network)
        self.target_projector = mlp(dimension, sizes, seed, "target_projector", norm_last=True)
        self.target.set_weights(network.get_weights())
        self.target_projector.set_weights(self.projector.get_weights())
        # The variables, not the layers: batch normalisation of a layer that is not trained takes its moving statistics.
        for weight in (*self.target.weights, *self.target_projector.weights):
            weight.trainable = False

    def call(self, vectors: list[Any], features: list[Any]) -> Any:
        """Mean of both directions, from 0 to 4."""
        projected = [self.projector(view, training=True) for view in vectors]
        predicted = self.predicted(projected)
        seen = ops.split(self.target(ops.concatenate(features, axis=0), training=True), len(features))
        wanted = [self.target_projector(self.part(view), training=True) for view in seen]
        first, second = (negative_cosine(*pair) for pair in zip(predicted, reversed(wanted), strict=True))
        return 2.0 + first + second

    def after_step(self, network: keras.Model, step: Any, total: int) -> None:
        """The target follows."""
        kept = momentum(step, total, self.first_momentum)
        pairs = [(self.target, network), (self.target_projector, self.projector)]
        for target, online in pairs:
            for slow, fast in zip(target.weights, online.weights, strict=True):
                if fast.trainable or fast.path.endswith(("kernel", "bias", "gamma", "beta", "power")):
                    slow.assign(kept * slow + (1.0 - kept) * ops.cast(fast, slow.dtype))
