"""The network: a small convolutional trunk and an embedding head of unit length."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ruiji")
class MetricEmbedding(keras.layers.Layer):
    """A linear map to [b, size] and its L2 normalisation.

    A zero vector has no direction: lengths below 1e-6 are taken as 1e-6, so that its image is finite.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.linear = keras.layers.Dense(size, name="linear")

    def build(self, input_shape: Any) -> None:
        """Makes the weights of the linear map."""
        self.linear.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """[b, n] -> [b, size] of unit length."""
        mapped = self.linear(inputs)
        length = ops.sqrt(ops.sum(ops.square(mapped), axis=-1, keepdims=True))
        return mapped / ops.maximum(length, 1e-6)

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {**super().get_config(), "size": self.size}


def convolutional_model(shape: tuple[int, ...], embedding_size: int) -> keras.Model:
    """Three 3x3 convolutions with batch normalisation, halved in between, flattened, then the head.

    Flattened rather than averaged over places: where a stroke stands is what tells classes apart that were never
    trained on (README of the trainer has the figures).

    Args:
        shape: (height, width, channels) of the features, at least 4 x 4.
        embedding_size: of the output.

    Returns:
        A model [b, *shape] float32 -> [b, embedding_size] float32, unit length.
    """
    inputs = keras.Input(shape, name="features")
    hidden = inputs
    for block, filters in enumerate((32, 64, 128)):
        hidden = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{block}")(hidden)
        hidden = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(hidden)
        hidden = keras.layers.ReLU(name=f"relu{block}")(hidden)
        if block < 2:
            hidden = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{block}")(hidden)
    hidden = _at_most_places(hidden, 8)
    hidden = keras.layers.Flatten(name="flat")(hidden)
    return keras.Model(inputs, MetricEmbedding(embedding_size, name="embedding")(hidden), name="ruiji")


def sound_model(shape: tuple[int, ...], embedding_size: int) -> keras.Model:
    """Four convolutions with batch normalisation, each halving time and frequency, then mean and maximum over time.

    Frequencies stay apart up to the head: what sounds an octave higher is another sound.

    Args:
        shape: (frames, mel bands, 1) of the features.
        embedding_size: of the output.

    Returns:
        A model [b, *shape] float32 -> [b, embedding_size] float32, unit length.
    """
    inputs = keras.Input(shape, name="features")
    hidden = inputs
    for block, (filters, size) in enumerate(((32, 5), (64, 3), (128, 3), (128, 3))):
        hidden = keras.layers.Conv2D(filters, size, 2, padding="same", use_bias=False, name=f"conv{block}")(hidden)
        hidden = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(hidden)
        hidden = keras.layers.ReLU(name=f"relu{block}")(hidden)
    frames = hidden.shape[1]
    pools = [keras.layers.AveragePooling2D, keras.layers.MaxPooling2D]
    over_time = [pool((frames, 1), name=name)(hidden) for pool, name in zip(pools, ("mean", "loudest"), strict=True)]
    joined = keras.layers.Concatenate(name="moments")([keras.layers.Flatten()(part) for part in over_time])
    return keras.Model(inputs, MetricEmbedding(embedding_size, name="embedding")(joined), name="ruiji")


def _at_most_places(hidden: Any, places: int) -> Any:
    """Averages down to at most places x places, so that the head does not grow with the size of the pictures."""
    height, width = hidden.shape[1:3]
    pool = (-(-height // places), -(-width // places))
    if pool == (1, 1):
        return hidden
    return keras.layers.AveragePooling2D(pool, padding="same", name="places")(hidden)
