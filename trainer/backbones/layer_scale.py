"""ConvNeXt's layer scale, its weight under a name.

Touvron, Cord, Sablayrolles, Synnaeve, Jégou: Going deeper with Image Transformers, 2021 (arXiv:2103.17239), section 2.
"""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="ruiji")
class LayerScale(keras.layers.Layer):
    """A factor a channel; stands for the layer of the same name in `keras.applications`, and is saved as that is.

    There the weight has no name, so that Keras numbers it over the whole process, and its path would be another in each
    run.

    Args:
        init_values: of all factors.
        projection_dim: channels.
    """

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values, self.projection_dim = init_values, projection_dim

    def build(self, input_shape: Any) -> None:
        """Makes the factors."""
        initial = keras.initializers.Constant(self.init_values)
        self.gamma = self.add_weight(shape=(self.projection_dim,), initializer=initial, name="gamma")

    def call(self, inputs: Any) -> Any:
        """[..., c] -> [..., c]."""
        return inputs * self.gamma

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        own = {"init_values": self.init_values, "projection_dim": self.projection_dim}
        return {**super().get_config(), **own}
