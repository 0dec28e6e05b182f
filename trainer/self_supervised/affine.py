"""A random shift, turn and zoom (each axis on its own) of every picture, drawn from a seed alone."""

from typing import Any

import tensorflow as tf

from sim_transforms.settings.training import AugmentSettings


def affine(features: Any, seed: Any, strength: AugmentSettings) -> Any:
    """[b, h, w, c] float32 -> the same shape; what comes in from outside is as dark as the darkest pixel.

    Args:
        features: the batch.
        seed: [2] int32; the same seed gives the same views.
        strength: `shift`, `turn` and `zoom`.
    """
    count = tf.shape(features)[0]
    draws = tf.random.stateless_uniform([5, count], seed, -1.0, 1.0)
    transforms = _coefficients(draws, tf.cast(tf.shape(features)[1:3], tf.float32), strength)
    ground = tf.reduce_min(features, axis=[0, 1, 2])
    return ground + tf.raw_ops.ImageProjectiveTransformV3(
        images=features - ground,
        transforms=transforms,
        output_shape=tf.shape(features)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _coefficients(draws: Any, size: Any, strength: AugmentSettings) -> Any:
    """[5, b] draws from -1 to 1 -> [b, 8] coefficients of maps around the middle of the picture."""
    turn = draws[0] * strength.turn
    wide, high = 1.0 + draws[1] * strength.zoom, 1.0 + draws[2] * strength.zoom
    a, b = wide * tf.cos(turn), -wide * tf.sin(turn)
    c, d = high * tf.sin(turn), high * tf.cos(turn)
    middle_y, middle_x = (size[0] - 1.0) / 2.0, (size[1] - 1.0) / 2.0
    right = middle_x - a * middle_x - b * middle_y + draws[3] * strength.shift * size[1]
    down = middle_y - c * middle_x - d * middle_y + draws[4] * strength.shift * size[0]
    zeros = tf.zeros_like(a)
    return tf.stack([a, b, right, c, d, down, zeros, zeros], axis=1)
