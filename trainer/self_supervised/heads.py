"""Heads of self-supervised objectives: small networks on the embeddings, which are thrown away after the training."""

from collections.abc import Sequence

import keras


def mlp(dimension: int, sizes: Sequence[int], seed: int, name: str, *, norm_last: bool = False) -> keras.Model:
    """[b, dimension] -> [b, sizes[-1]]: linear maps with batch normalisation and ReLU between them.

    Args:
        dimension: of the input.
        sizes: of the layers.
        seed: of the weights.
        name: of the network.
        norm_last: whether the output is batch-normalised too.
    """
    layers: list[keras.layers.Layer] = [keras.Input((dimension,))]
    for number, size in enumerate(sizes):
        is_last = number == len(sizes) - 1
        normed = norm_last or not is_last
        initializer = keras.initializers.GlorotUniform(seed + number)
        layers.append(keras.layers.Dense(size, use_bias=not normed, kernel_initializer=initializer, dtype="float32"))
        if normed:
            layers.append(keras.layers.BatchNormalization(momentum=0.9, dtype="float32"))
        if not is_last:
            layers.append(keras.layers.ReLU(dtype="float32"))
    return keras.Sequential(layers, name=name)
