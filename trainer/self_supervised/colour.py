"""Colour jitter of standardised pictures: brightness, contrast, saturation and hue, each drawn for every picture."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from sim_transforms.settings.training import AugmentSettings

# Luma and the two axes of colour (YIQ), on which a turn is a change of hue.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
_FROM_YIQ = np.linalg.inv(_TO_YIQ).astype(np.float32)


def jitter(features: Any, seed: Any, strength: AugmentSettings) -> Any:
    """[b, h, w, c] float32 -> the same shape; saturation and hue leave pictures of other than three channels alone.

    Args:
        features: of mean 0 and variance 1.
        seed: [2] int32.
        strength: `brightness` in standard deviations, `contrast` and `saturation` as shares up and down, `hue` as a
            share of a whole turn; to both sides.
    """
    draws = tf.random.stateless_uniform([4, tf.shape(features)[0], 1, 1, 1], seed, -1.0, 1.0)
    if strength.contrast:
        mean = tf.reduce_mean(features, axis=[1, 2, 3], keepdims=True)
        features = mean + (features - mean) * (1.0 + draws[0] * strength.contrast)
    if strength.brightness:
        features += draws[1] * strength.brightness
    if features.shape[-1] == 3 and (strength.saturation or strength.hue):
        features = _turn_colours(features, draws[2] * strength.saturation, draws[3] * strength.hue)
    return features


def _turn_colours(features: Any, saturation: Any, hue: Any) -> Any:
    y, i, q = tf.split(tf.einsum("bhwc,dc->bhwd", features, _TO_YIQ), 3, axis=3)
    angle, scale = 2.0 * math.pi * hue, 1.0 + saturation
    turned = [scale * (i * tf.cos(angle) - q * tf.sin(angle)), scale * (i * tf.sin(angle) + q * tf.cos(angle))]
    return tf.einsum("bhwc,dc->bhwd", tf.concat([y, *turned], axis=3), _FROM_YIQ)
