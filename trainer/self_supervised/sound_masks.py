"""Parts of spectra hidden: a stretch of time and a range of bands (Park et al. 2019, "SpecAugment")."""

from typing import Any

import tensorflow as tf

from sim_transforms.settings.training import AugmentSettings


def mask_spectra(features: Any, seed: Any, settings: AugmentSettings) -> Any:
    """[b, frames, bands, 1] float32 -> the same shape; what is hidden is 0, the mean over the catalog.

    Args:
        features: of mean 0 a band.
        seed: [2] int32.
        settings: `time_mask` and `frequency_mask`, the largest shares that are hidden.
    """
    for number, (axis, share) in enumerate(((1, settings.time_mask), (2, settings.frequency_mask))):
        if share:
            its_own = tf.random.experimental.stateless_fold_in(seed, number)
            features = tf.where(_hidden(features, its_own, axis, share), 0.0, features)
    return features


def _hidden(features: Any, seed: Any, axis: int, share: float) -> Any:
    """Where a stretch of random length and place lies along an axis."""
    size, count = features.shape[axis], tf.shape(features)[0]
    draws = tf.random.stateless_uniform([2, count], seed)
    length = draws[0] * share * size
    start = draws[1] * (size - length)
    places = tf.range(size, dtype=tf.float32)[None]
    hidden = tf.logical_and(places >= tf.floor(start)[:, None], places < tf.floor(start + length)[:, None])
    return tf.reshape(hidden, [count, size, 1, 1] if axis == 1 else [count, 1, size, 1])
