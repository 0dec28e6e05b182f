"""The embedding head: what every backbone ends with."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ruiji")
class MetricEmbedding(keras.layers.Layer):
    """A linear map to [b, size] and its L2 normalisation, in float32 whatever the policy.

    Losses compare unit vectors by small differences, which bfloat16 (8 bits) would round away. A zero vector has no
    direction: lengths below 1e-6 are taken as 1e-6, so that its image is finite.

    A metric loss brings items of a class together, a self-supervised term keeps items apart: in the same dimensions
    each undoes what the other does. With `view_size` each has its own; both parts are of unit length before they are
    put together, and the cosine of two embeddings is the weighted mean of those of the parts.

    Args:
        size: of the output.
        view_size: of it, the last dimensions, for the self-supervised term.
        metric_share: weight of the other dimensions in a cosine.
    """

    def __init__(self, size: int, view_size: int = 0, metric_share: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**{"name": "embedding", **kwargs, "dtype": "float32"})
        self.size, self.view_size, self.metric_share = size, view_size, metric_share
        self.linear = keras.layers.Dense(size, name="linear", dtype="float32")

    def build(self, input_shape: Any) -> None:
        """Makes the weights of the linear map."""
        self.linear.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """[b, n] -> [b, size] float32 of unit length."""
        mapped = self.linear(inputs)
        if not self.view_size:
            return _normalised(mapped)
        own = self.size - self.view_size
        metric, view = _normalised(mapped[:, :own]), _normalised(mapped[:, own:])
        scales = math.sqrt(self.metric_share), math.sqrt(1.0 - self.metric_share)
        return ops.concatenate([scales[0] * metric, scales[1] * view], axis=1)

    def metric_part(self, vectors: Any) -> Any:
        """[b, size] of this layer -> the dimensions of the metric loss, of unit length; all without others."""
        return _normalised(vectors[:, : self.size - self.view_size]) if self.view_size else vectors

    def view_part(self, vectors: Any) -> Any:
        """[b, size] of this layer -> the dimensions of the views, of unit length; all without others."""
        return _normalised(vectors[:, self.size - self.view_size :]) if self.view_size else vectors

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        own = {"size": self.size, "view_size": self.view_size, "metric_share": self.metric_share}
        return {**super().get_config(), **own}


def _normalised(mapped: Any) -> Any:
    length = ops.sqrt(ops.sum(ops.square(mapped), axis=-1, keepdims=True))
    return mapped / ops.maximum(length, 1e-6)
