"""Random crops, brought back to the size of the picture (Szegedy et al. 2015), and mirrored pictures."""

import math
from typing import Any

import tensorflow as tf

# Sides of a crop, one to the other, at most.
_ASPECT = 4.0 / 3.0


def crop(features: Any, seed: Any, least: float, most: float) -> Any:
    """[b, h, w, c] float32 -> the same shape: a part of each picture of `least` to `most` of its area.

    Args:
        features: the batch.
        seed: [2] int32.
        least, most: shares of the area.
    """
    count = tf.shape(features)[0]
    draws = tf.random.stateless_uniform([4, count], seed)
    area = least + draws[0] * (most - least)
    aspect = tf.exp((2.0 * draws[1] - 1.0) * math.log(_ASPECT) / 2.0)
    # A side that would be longer than the picture's makes the other one longer.
    aspect = tf.clip_by_value(aspect, tf.sqrt(area), 1.0 / tf.sqrt(area))
    high, wide = tf.minimum(1.0, tf.sqrt(area) * aspect), tf.minimum(1.0, tf.sqrt(area) / aspect)
    top, left = draws[2] * (1.0 - high), draws[3] * (1.0 - wide)
    boxes = tf.stack([top, left, top + high, left + wide], axis=1)
    return tf.image.crop_and_resize(features, boxes, tf.range(count), features.shape[1:3])


def flip(features: Any, seed: Any) -> Any:
    """[b, h, w, c] -> the same shape: every second picture, by chance, mirrored left to right."""
    mirrored = tf.random.stateless_uniform([tf.shape(features)[0]], seed) < 0.5
    return tf.where(mirrored[:, None, None, None], features[:, :, ::-1], features)
