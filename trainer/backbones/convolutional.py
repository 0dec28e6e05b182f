"""The small network for pictures, which is trained from nothing."""

from typing import Any

import keras

from trainer.backbones.pooling import Pooling, pooled
from trainer.model import MetricEmbedding


def convolutional_model(shape: tuple[int, ...], head: MetricEmbedding, pooling: Pooling = "flatten") -> keras.Model:
    """Three 3x3 convolutions with batch normalisation, halved in between, flattened, then the head.

    Flattened rather than averaged over places: where a stroke stands is what tells classes apart that were never
    trained on (README of the trainer has the figures).

    Args:
        shape: (height, width, channels) of the features, at least 4 x 4.
        head: the embedding.
        pooling: what is done instead of flattening.

    Returns:
        A model [b, *shape] float32 -> [b, size of the head] float32, unit length.
    """
    inputs = keras.Input(shape, name="features")
    hidden = inputs
    for block, filters in enumerate((32, 64, 128)):
        hidden = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{block}")(hidden)
        hidden = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(hidden)
        hidden = keras.layers.ReLU(name=f"relu{block}")(hidden)
        if block < 2:
            hidden = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{block}")(hidden)
    hidden = pooled(_at_most_places(hidden, 8) if pooling == "flatten" else hidden, pooling)
    return keras.Model(inputs, head(hidden), name="ruiji")


def _at_most_places(hidden: Any, places: int) -> Any:
    """Averages down to at most places x places, so that the head does not grow with the size of the pictures."""
    height, width = hidden.shape[1:3]
    pool = (-(-height // places), -(-width // places))
    if pool == (1, 1):
        return hidden
    return keras.layers.AveragePooling2D(pool, padding="same", name="places")(hidden)
