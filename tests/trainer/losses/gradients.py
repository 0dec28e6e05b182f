"""Value and gradient of a function of arrays, on whichever backend Keras runs."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def value_and_gradient(function: Callable[[Any], Any], values: np.ndarray) -> tuple[float, np.ndarray]:
    """Of a scalar function of one array."""
    if keras.backend.backend() == "jax":
        import jax

        value, gradient = jax.value_and_grad(function)(jax.numpy.asarray(values))
        return float(value), np.asarray(gradient)
    import tensorflow as tf

    variable = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = function(variable)
    gradient = tape.gradient(value, variable)
    return float(value), np.zeros_like(values) if gradient is None else tf.convert_to_tensor(gradient).numpy()


def by_differences(function: Callable[[Any], Any], values: np.ndarray, step: float) -> np.ndarray:
    """The gradient by central differences."""
    gradient = np.zeros_like(values, np.float64)
    for place in np.ndindex(*values.shape):
        moved = np.zeros_like(values)
        moved[place] = step
        up, down = (float(function(keras.ops.convert_to_tensor(values + sign * moved))) for sign in (1, -1))
        gradient[place] = (up - down) / (2 * step)
    return gradient
