"""The TensorFlow Transform graph: decoded media bytes -> normalised features, label -> class number.

Means and variances come from int64 sums, so that no order of summation can change a bit of them, and from items of the
train split alone. Sums of squares of uint8 hold up to 2^63 / 255^2 = 1.4e14 values a channel; decibels are summed in
steps of 1/256, up to 2^63 / (80 * 256)^2 = 2.2e10 frames (16 years at the default step).
"""

import math
from collections.abc import Callable

import tensorflow as tf
import tensorflow_transform as tft

from sim_transforms.features.log_mel import log_mel
from sim_transforms.records.media import MediaShape

FEATURES = "features"
LABEL_INDEX = "label_index"
MOMENTS = "moments"
MEDIA = "media"

# Of a decibel, as whole numbers of which sound is summed.
_STEPS = 256.0

PreprocessingFn = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


def make_preprocessing_fn(media: MediaShape, min_examples_per_class: int) -> PreprocessingFn:
    """Makes the `preprocessing_fn` for decoded media of one shape.

    Its inputs are `media`, `label` and `split`, each [b] string; its outputs `features` [b, *feature_shape] float32, of
    mean 0 and variance 1 a channel or mel band over the train split; `moments` [b, 2, channels or bands] float32, the
    mean and the standard deviation that were taken off, 0 to 255 or dB; and `label_index` [b] int64, -1 for labels
    outside the vocabulary.
    """

    def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        values = decode_media_bytes(inputs[MEDIA], media)
        in_train = tf.equal(inputs["split"], "train")
        if media.sound is None:
            mean, deviation = _moments(values, in_train)
            features, unit = (tf.cast(values, tf.float32) - mean) / deviation, 1.0
        else:
            decibels = log_mel(values, media.sound)
            steps = tf.cast(tf.round(decibels * _STEPS), tf.int64)
            mean, deviation = _moments(steps, in_train)
            features, unit = ((decibels * _STEPS - mean) / deviation)[..., None], _STEPS
        moments = tf.stack([mean, deviation])[None] / unit
        index = tft.compute_and_apply_vocabulary(
            inputs["label"],
            default_value=-1,
            frequency_threshold=min_examples_per_class if min_examples_per_class > 1 else None,
            vocab_filename="labels",
        )
        told = tf.tile(moments, [tf.shape(features)[0], 1, 1])
        return {FEATURES: features, MOMENTS: told, LABEL_INDEX: index}

    return preprocessing_fn


def decode_media_bytes(data: tf.Tensor, media: MediaShape) -> tf.Tensor:
    """[b] string of row-major bytes -> [b, *shape] of the media's dtype."""
    values = tf.io.decode_raw(data, tf.dtypes.as_dtype(media.dtype))
    return tf.reshape(values, [-1, *media.shape])


def _moments(values: tf.Tensor, in_train: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and standard deviation a channel ([channels] float32), over the rows where `in_train` is true.

    Values are whole numbers, [b, ..., channels].
    """
    keep = tf.cast(in_train, tf.int64)
    positions = tf.constant(_positions(values), tf.int64)
    count = tft.sum(keep * positions, reduce_instance_dims=True)
    narrow = tf.cast(values, tf.int32) if values.dtype == tf.uint8 else values
    total = tft.sum(_sum_of_each(narrow) * keep[:, None], reduce_instance_dims=False)
    squares = tft.sum(_sum_of_each(narrow * narrow) * keep[:, None], reduce_instance_dims=False)
    number = tf.cast(tf.maximum(count, 1), tf.float64)
    mean = tf.cast(total, tf.float64) / number
    variance = tf.maximum(tf.cast(squares, tf.float64) / number - mean * mean, 0.0)
    deviation = tf.where(variance > 0, tf.sqrt(variance), tf.ones_like(variance))
    return tf.cast(mean, tf.float32), tf.cast(deviation, tf.float32)


def _sum_of_each(values: tf.Tensor) -> tf.Tensor:
    """[b, ..., channels] whole numbers -> [b, channels] int64.

    The rows of a picture are summed as int32, a quarter of the work: 255^2 fits 33,000 times.
    """
    while values.shape.rank > 2:
        values = tf.cast(tf.reduce_sum(values, axis=-2), tf.int64)
    return values


def _positions(values: tf.Tensor) -> int:
    """Values a channel in one item: h * w, or the frames of a clip."""
    return math.prod(values.shape.as_list()[1:-1])
