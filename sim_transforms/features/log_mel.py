"""Samples -> log-mel spectra, as TensorFlow operations whose results do not depend on what else is in the batch.

Each operation works on every clip alone and in one order of summation: the bands are sums over sorted segments of
frequencies rather than a matrix product, whose blocks change with the batch, so a clip's features are the same bits in
training, in the embedding job and in a query.
"""

import functools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from sim_transforms.records.media import SoundShape

Array = np.ndarray[Any, Any]

_FULL_SCALE = 32_768.0
_LANES = 16
# Power below which a band is silence whatever its clip's loudest value: some 100 dB below a sine's at full scale.
_FLOOR = 1e-6


def log_mel(samples: tf.Tensor, sound: SoundShape) -> tf.Tensor:
    """[b, samples] int16 -> [b, frames, mel bands] float32, dB below the clip's loudest value, 0 to -top_db.

    Frames lie wholly in the clip, `step` apart, under a Hann window; bands are triangles on the mel scale
    (HTK's, as `tf.signal.linear_to_mel_weight_matrix` has it).
    """
    waves = tf.cast(samples, tf.float32) / _FULL_SCALE
    spectra = tf.signal.stft(waves, sound.window, sound.step, _fft_length(sound))
    power = tf.square(tf.math.real(spectra)) + tf.square(tf.math.imag(spectra))
    logarithms = tf.math.log(tf.maximum(_bands(power, sound), _FLOOR))[:, :, : sound.mel_bands]
    decibels = logarithms * np.float32(10.0 / math.log(10.0))
    loudest = tf.reduce_max(decibels, axis=[1, 2], keepdims=True)
    return tf.maximum(decibels - loudest, np.float32(-sound.top_db))


def _fft_length(sound: SoundShape) -> int:
    return 1 << (sound.window - 1).bit_length()


def _bands(power: tf.Tensor, sound: SoundShape) -> tf.Tensor:
    """[b, frames, bins] -> [b, frames, mel bands and empty ones]: each bin's share goes to its one or two triangles.

    Empty bands fill up to a multiple of the processor's lanes, because what is left over of a logarithm's vector is
    computed by other code, and what is left over depends on the batch.
    """
    bins, bands, weights = mel_weights(sound)
    shares = tf.gather(tf.transpose(power, [2, 0, 1]), bins) * weights[:, None, None]
    padded = -(-sound.mel_bands // _LANES) * _LANES
    return tf.transpose(tf.math.unsorted_segment_sum(shares, bands, padded), [1, 2, 0])


@functools.lru_cache(maxsize=8)
def mel_weights(sound: SoundShape) -> tuple[Array, Array, Array]:
    """The filter bank's entries that are not zero: frequency bin, band and weight, ordered by band and bin."""
    with tf.init_scope():
        matrix = tf.signal.linear_to_mel_weight_matrix(
            sound.mel_bands, _fft_length(sound) // 2 + 1, sound.sample_rate, sound.min_hz, sound.max_hz
        ).numpy()
    bands, bins = np.nonzero(matrix.T)
    return bins.astype(np.int32), bands.astype(np.int32), matrix[bins, bands].astype(np.float32)
