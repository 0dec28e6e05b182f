"""Hashes of what looks the same are near, of what does not far, and never depend on the batch."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sim_transforms.quality.perceptual import FLAT, SOUND_BLOCK, hamming, perceptual_hash, spectrum_hash


def _digits(side: int = 32) -> np.ndarray:
    grey = np.rint(load_digits().images[:200] * 255 / 16).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(g).resize((side, side), Image.Resampling.BICUBIC)) for g in grey])


def _jpeg(pixels: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return np.asarray(Image.open(buffer))


def test_perceptual_hash_of_pictures_coded_anew_differs_in_few_bits() -> None:
    pictures = _digits()
    again = np.stack([_jpeg(p) for p in pictures])
    assert hamming(perceptual_hash(pictures), perceptual_hash(again)).max() <= 4


def test_perceptual_hash_of_scaled_pictures_differs_in_few_bits() -> None:
    pictures = _digits()
    small = np.stack([np.asarray(Image.fromarray(p).resize((24, 24), Image.Resampling.BOX)) for p in pictures])
    assert np.median(hamming(perceptual_hash(pictures), perceptual_hash(small))) <= 4


def test_perceptual_hash_of_different_pictures_differs_in_many_bits() -> None:
    hashes = perceptual_hash(np.random.default_rng(0).integers(0, 256, (64, 16, 16)).astype(np.uint8))
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])[np.triu_indices(64, 1)]
    assert apart.min() > 10
    assert 28 < apart.mean() < 36


def test_perceptual_hash_alone_and_in_any_batch_is_the_same() -> None:
    pictures = _digits()
    whole = perceptual_hash(pictures)
    np.testing.assert_array_equal(whole, np.concatenate([perceptual_hash(p[None]) for p in pictures]))
    np.testing.assert_array_equal(whole[::-1], perceptual_hash(pictures[::-1]))


def test_perceptual_hash_of_grey_in_three_channels_is_that_of_one() -> None:
    grey = _digits()
    colour = np.repeat(grey[..., None], 3, axis=3)
    np.testing.assert_array_equal(perceptual_hash(colour), perceptual_hash(grey))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (16, 16), (300, 5)])
def test_perceptual_hash_of_one_colour_is_flat(shape: tuple[int, int]) -> None:
    pictures = np.stack([np.full(shape, value, np.uint8) for value in (0, 1, 127, 255)])
    assert perceptual_hash(pictures).tolist() == [FLAT] * 4


@pytest.mark.parametrize(
    ("pictures", "block"),
    [
        (np.zeros((1, 8, 8), np.float32), (8, 8)),
        (np.zeros((8, 8), np.uint8), (8, 8)),
        (np.zeros((1, 8, 8), np.uint8), (8, 4)),
    ],
)
def test_perceptual_hash_of_other_arrays_is_refused(pictures: np.ndarray, block: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="found"):
        perceptual_hash(pictures, block)


def test_spectrum_hash_of_silence_is_flat() -> None:
    assert spectrum_hash(np.zeros((2, 30, 64), np.float32), 80.0).tolist() == [FLAT, FLAT]


def test_spectrum_hash_of_steady_tones_tells_them_apart() -> None:
    spectra = np.full((2, 30, 64), -80.0, np.float32)
    spectra[0, :, 8:11] = spectra[1, :, 30:33] = 0.0
    low, high = spectrum_hash(spectra, 80.0)
    assert hamming(low, high) > 4
    assert SOUND_BLOCK[1] > SOUND_BLOCK[0]
