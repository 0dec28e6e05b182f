"""The small network for spectra, which is trained from nothing."""

from typing import Any

import keras

from trainer.backbones.pooling import GeneralizedMean, Pooling
from trainer.model import MetricEmbedding


def sound_model(shape: tuple[int, ...], head: MetricEmbedding, pooling: Pooling = "flatten") -> keras.Model:
    """Four convolutions with batch normalisation, each halving time and frequency, then mean and maximum over time.

    Frequencies stay apart up to the head: what sounds an octave higher is another sound.

    Args:
        shape: (frames, mel bands, 1) of the features.
        head: the embedding.
        pooling: over time: `flatten` is mean and maximum beside each other, the others are one of their own.

    Returns:
        A model [b, *shape] float32 -> [b, size of the head] float32, unit length.
    """
    inputs = keras.Input(shape, name="features")
    hidden = inputs
    for block, (filters, size) in enumerate(((32, 5), (64, 3), (128, 3), (128, 3))):
        hidden = keras.layers.Conv2D(filters, size, 2, padding="same", use_bias=False, name=f"conv{block}")(hidden)
        hidden = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{block}")(hidden)
        hidden = keras.layers.ReLU(name=f"relu{block}")(hidden)
    joined = _over_time(hidden, pooling)
    return keras.Model(inputs, head(joined), name="ruiji")


def _over_time(hidden: Any, pooling: Pooling) -> Any:
    """[b, frames, bands, c] -> [b, n]."""
    if pooling == "gem":
        return keras.layers.Flatten(name="flat")(GeneralizedMean(axes=(1,), name="gem")(hidden))
    frames = hidden.shape[1]
    pools = {"average": keras.layers.AveragePooling2D, "max": keras.layers.MaxPooling2D}
    if pooling != "flatten":
        return keras.layers.Flatten(name="flat")(pools[pooling]((frames, 1), name=pooling)(hidden))
    parts = []
    for pool, name, flat in zip(pools.values(), ("mean", "loudest"), ("flatten", "flatten_1"), strict=True):
        parts.append(keras.layers.Flatten(name=flat)(pool((frames, 1), name=name)(hidden)))
    return keras.layers.Concatenate(name="moments")(parts)
