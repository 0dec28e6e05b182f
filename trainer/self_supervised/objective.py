"""What self-supervised objectives share: several views of the same items in, one number out; no labels."""

from collections.abc import Callable
from typing import Any

import keras

# Embeddings -> the part of them that the objective shapes, of unit length.
Part = Callable[[Any], Any]


class ViewObjective(keras.layers.Layer):
    """A loss on views, and what is learned beside the network for it: heads, prototypes, a target network.

    In float32 whatever the policy. Heads and prototypes begin from a seed, and all that a resumed training must restore
    stands in `variables`.

    Attributes:
        views: global views of each item.
        local_views: small crops of each item beside them.
        predictor: of one view from another; null of objectives that predict nothing.
    """

    views = 2
    predictor: keras.Model | None = None

    def __init__(self, name: str, local_views: int = 0) -> None:
        super().__init__(name=name, dtype="float32")
        self.local_views = local_views

    def build_for(self, network: keras.Model, dimension: int, part: Part, seed: int) -> None:
        """Makes what is learned beside the network.

        Args:
            network: features -> whole embeddings.
            dimension: of the part that is shaped.
            part: of whole embeddings.
            seed: of all that begins at random.
        """

    @property
    def quick(self) -> list[Any]:
        """Variables that learn at `train.proxy_learning_rate` times the rate: those of the predictor.

        One that lags behind the network lets the views fall together (Tian et al. 2021, section 4).
        """
        return list(self.predictor.trainable_variables) if self.predictor else []

    def predicted(self, projected: list[Any]) -> list[Any]:
        """What the predictor makes of each view; the views themselves without one."""
        return [self.predictor(view, training=True) if self.predictor else view for view in projected]

    def call(self, vectors: list[Any], features: list[Any]) -> Any:
        """The loss.

        Args:
            vectors: of each view, the global ones first, [b, dimension] of unit length.
            features: of each view, [b, *feature_shape].
        """
        raise NotImplementedError

    def after_step(self, network: keras.Model, step: Any, total: int) -> None:
        """What follows a step of the optimizer; `step` counts from 1, an int32 tensor."""
