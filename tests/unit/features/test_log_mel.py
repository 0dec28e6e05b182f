"""Log-mel spectra: those of the definition, and the same bits whatever else is in the batch."""

import numpy as np
import pytest
import tensorflow as tf

from sim_transforms.features.log_mel import log_mel
from sim_transforms.media.sound import sound_shape
from sim_transforms.settings.stages import SoundSettings

ODD = {"seconds": 1.03, "mel_bands": 37, "window": 1000, "step": 300, "sample_rate": 16_000}
SMALL = {"seconds": 0.5, "mel_bands": 16, "window": 256, "step": 128, "sample_rate": 8_000, "min_hz": 100.0}


def _slowly(samples: np.ndarray, settings: SoundSettings) -> np.ndarray:
    """[samples] int16 -> [frames, bands], by the definition, in float64."""
    length = 1 << (settings.window - 1).bit_length()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)
    edges = np.linspace(*(1127 * np.log1p(np.array([settings.min_hz, settings.top_hz]) / 700)), settings.mel_bands + 2)
    mels = 1127 * np.log1p(np.arange(length // 2 + 1) * settings.sample_rate / length / 700)
    rows = []
    for first in range(0, len(samples) - settings.window + 1, settings.step):
        power = np.abs(np.fft.rfft(samples[first : first + settings.window] / 32768 * window, length)) ** 2
        row = []
        for band in range(settings.mel_bands):
            low, middle, high = edges[band : band + 3]
            weights = np.maximum(0, np.minimum((mels - low) / (middle - low), (high - mels) / (high - middle)))
            weights[0] = 0  # the mean is no sound
            row.append(10 * np.log10(max(1e-6, float((weights * power).sum()))))
        rows.append(row)
    decibels = np.array(rows)
    return np.maximum(decibels - decibels.max(), -settings.top_db)


def _noise(count: int, settings: SoundSettings) -> np.ndarray:
    samples = round(settings.seconds * settings.sample_rate)
    return (np.random.default_rng(count).standard_normal((count, samples)) * 2_000).astype(np.int16)


@pytest.mark.parametrize("given", [SMALL, ODD])
def test_spectra_are_those_of_the_definition(given: dict[str, float]) -> None:
    settings = SoundSettings(**given)
    shape, samples = sound_shape(settings), _noise(2, settings)
    found = log_mel(tf.constant(samples), shape.sound).numpy()
    assert (*found.shape[1:], 1) == shape.feature_shape
    for row, one in zip(found, samples, strict=True):
        np.testing.assert_allclose(row, _slowly(one, settings), atol=0.02)


def test_a_tone_is_loudest_in_its_band_and_loudness_does_not_matter() -> None:
    settings = SoundSettings(**SMALL)
    sine = np.sin(2 * np.pi * 1_000 * np.arange(4_000) / 8_000)
    loud, soft = (log_mel(tf.constant((sine * level).astype(np.int16)[None]), sound_shape(settings).sound).numpy()[0]
                  for level in (16_000, 4_000))  # fmt: skip
    assert loud.max() == 0.0
    assert (loud.argmax(axis=1) == loud[0].argmax()).all()
    np.testing.assert_allclose(np.maximum(loud, -70), np.maximum(soft, -70), atol=0.5)


def test_silence_is_finite() -> None:
    settings = SoundSettings(**SMALL)
    assert not log_mel(tf.zeros((1, 4_000), tf.int16), sound_shape(settings).sound).numpy().any()


@pytest.mark.parametrize("given", [{}, SMALL, ODD])
def test_bits_do_not_depend_on_the_batch(given: dict[str, float]) -> None:
    settings = SoundSettings(**given)
    sound, samples = sound_shape(settings).sound, _noise(40, settings)
    compute = tf.function(lambda clips: log_mel(clips, sound), reduce_retracing=True)
    whole = compute(tf.constant(samples)).numpy()
    for first, size in ((0, 1), (17, 1), (3, 2), (5, 7), (1, 33), (39, 1)):
        np.testing.assert_array_equal(compute(tf.constant(samples[first : first + size])), whole[first : first + size])
