"""A Gaussian blur of every picture by a standard deviation of its own."""

import math
from typing import Any

import tensorflow as tf


def blur(features: Any, seed: Any, largest: float) -> Any:
    """[b, h, w, c] float32 -> the same shape, the border continued.

    Args:
        features: the batch.
        seed: [2] int32.
        largest: standard deviation, pixels; each picture's is drawn from 0 to it.
    """
    count = tf.shape(features)[0]
    deviations = tf.random.stateless_uniform([count, 1], seed, 0.0, largest)
    radius = max(1, math.ceil(2.5 * largest))
    places = tf.range(-radius, radius + 1, dtype=tf.float32)
    weights = tf.exp(-tf.square(places)[None] / (2.0 * tf.square(tf.maximum(deviations, 1e-3))))
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    for axis in (1, 2):
        features = _along(features, weights, radius, axis)
    return features


def _along(features: Any, weights: Any, radius: int, axis: int) -> Any:
    """Sums shifted copies: a kernel for each picture is nothing that a convolution takes."""
    size = features.shape[axis]
    total = tf.zeros_like(features)
    for number in range(2 * radius + 1):
        places = tf.clip_by_value(tf.range(size) + number - radius, 0, size - 1)
        total += tf.gather(features, places, axis=axis) * weights[:, number, None, None, None]
    return total
