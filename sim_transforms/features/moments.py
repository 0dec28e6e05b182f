"""Means and standard deviations that an analysed graph takes off."""

from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft

from sim_transforms.features.preprocessing import MEDIA, MOMENTS
from sim_transforms.records.media import MediaShape


def moments_of(transform: Path, media: MediaShape) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel (0 to 255) or mel band (dB).

    Args:
        transform: folder of a TFTransformOutput.
        media: that it was analysed for.
    """
    layer = tft.TFTransformOutput(str(transform)).transform_features_layer()
    mean, deviation = layer({MEDIA: tf.constant([bytes(media.item_bytes)])})[MOMENTS].numpy()[0].tolist()
    return tuple(mean), tuple(deviation)
