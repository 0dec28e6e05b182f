"""The embedding head: what every backbone ends with."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ruiji")
class MetricEmbedding(keras.layers.Layer):
    """A linear map to [b, size] and its L2 normalisation, in float32 whatever the policy.

    Losses compare unit vectors by small differences, which bfloat16 (8 bits) would round away. A zero vector has no
    direction: lengths below 1e-6 are taken as 1e-6, so that its image is finite.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.size = size
        self.linear = keras.layers.Dense(size, name="linear", dtype="float32")

    def build(self, input_shape: Any) -> None:
        """Makes the weights of the linear map."""
        self.linear.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """[b, n] -> [b, size] float32 of unit length."""
        mapped = self.linear(inputs)
        length = ops.sqrt(ops.sum(ops.square(mapped), axis=-1, keepdims=True))
        return mapped / ops.maximum(length, 1e-6)

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {**super().get_config(), "size": self.size}
