"""From places to one vector: plain poolings, and the generalised mean.

Radenović, Tolias, Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, 2018 (arXiv:1711.02512), section 3.2.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

Pooling = Literal["flatten", "average", "max", "gem"]

# Below it the root of a mean says nothing any more in float32.
_LEAST_POWER = 0.01


@keras.saving.register_keras_serializable(package="ruiji")
class AtLeast(keras.constraints.Constraint):
    """Keeps a weight from falling below `low`."""

    def __init__(self, low: float) -> None:
        self.low = low

    def __call__(self, w: Any) -> Any:
        """Any shape -> the same."""
        return ops.maximum(w, ops.cast(self.low, w.dtype))

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {"low": self.low}


@keras.saving.register_keras_serializable(package="ruiji")
class GeneralizedMean(keras.layers.Layer):
    """(mean of max(x, eps)^p)^(1/p) over some axes, p trained: 1 is the mean, towards infinity it is the maximum.

    In float32 whatever the policy, and by logarithms: x^p of a small x leaves the range of float32 at a p of 7 already.

    Args:
        power: the first p; 3 is the paper's.
        axes: that are pooled away.
        eps: what is smaller counts as this much, and has no gradient.
    """

    def __init__(self, power: float = 3.0, axes: Sequence[int] = (1, 2), eps: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.initial_power, self.axes, self.eps = power, tuple(axes), eps

    def build(self, input_shape: Any) -> None:
        """Makes p."""
        initial = keras.initializers.Constant(self.initial_power)
        self.power = self.add_weight(shape=(), initializer=initial, name="power", constraint=AtLeast(_LEAST_POWER))

    def call(self, inputs: Any) -> Any:
        """[b, h, w, c] -> [b, c] float32 with the axes (1, 2)."""
        power = ops.maximum(self.power, _LEAST_POWER)
        logs = power * ops.log(ops.maximum(inputs, self.eps))
        peak = ops.stop_gradient(ops.max(logs, axis=self.axes, keepdims=True))
        mean = ops.log(ops.mean(ops.exp(logs - peak), axis=self.axes, keepdims=True)) + peak
        return ops.squeeze(ops.exp(mean / power), axis=self.axes)

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        own = {"power": self.initial_power, "axes": list(self.axes), "eps": self.eps}
        return {**super().get_config(), **own}


# Names of the layers with which the head begins.
HEAD_BEGINS = ("places", "flat", "average", "max", "gem", "mean", "loudest")


def pooled(places: Any, pooling: Pooling) -> Any:
    """[b, h, w, c] -> [b, n]; the layer is called `flat`, or as the pooling is."""
    if pooling == "flatten":
        return keras.layers.Flatten(name="flat")(places)
    if pooling == "average":
        return keras.layers.GlobalAveragePooling2D(name="average")(places)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name="max")(places)
    return GeneralizedMean(name="gem")(places)
