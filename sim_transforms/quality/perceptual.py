"""64-bit perceptual hashes (pHash, by the DCT) of decoded pictures and of log-mel spectra, by NumPy alone.

Media that look or sound the same though their files differ (coded anew, scaled, a little darker) differ in few bits, so
that near duplicates are found without a model. Not for what is alike without being a copy: that is the index's work.

Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions".
"""

import functools
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BITS = 64
# Of media with no detail that a hash could hold: one colour, one steady noise.
FLAT = 0
# Frequencies of the rows and columns that a hash is of; their product is BITS. A steady sound has no detail over time,
# so that more of its bits are for the mel bands.
PICTURE_BLOCK, SOUND_BLOCK = (8, 8), (4, 16)
# The basis is in whole numbers, so that sums in float64 are exact and do not depend on their order.
_BASIS_SCALE = 1024
MOST_PIXELS = 2**25
# Of the 255 steps of grey: less amplitude than that is rounding and noise.
_STEP = 0.5


def perceptual_hash(pictures: Array, block: tuple[int, int] = PICTURE_BLOCK) -> Array:
    """Hashes pictures: whether each of their lowest frequencies is above the median of these.

    The same picture gives the same hash in whatever batch it comes. A side has no more frequencies than
    pixels; what `block` has beyond them gives no bits.

    Args:
        pictures: [n, height, width] or [n, height, width, channels] uint8; of channels the mean is hashed.
        block: frequencies along rows and columns, 64 in all.

    Returns:
        [n] uint64; FLAT where there is no detail.

    Raises:
        ValueError: another dtype, number of axes or of frequencies, or more than MOST_PIXELS pixels a picture.
    """
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or math.prod(block) != BITS:
        raise ValueError(
            f"found {pictures.dtype} {pictures.shape}, block {block}; [n, h, w(, c)] uint8, 64 bits wanted"
        )
    if math.prod(pictures.shape[1:]) > MOST_PIXELS:
        raise ValueError(f"found {pictures.shape[1:]} values a picture; at most {MOST_PIXELS:,} are hashed")
    channels = pictures.shape[3] if pictures.ndim == 4 else 1
    grey = pictures.astype(np.float64) if pictures.ndim == 3 else pictures.sum(axis=3, dtype=np.float64)
    height, width = grey.shape[1:]
    sums = _basis(height, block[0]) @ grey @ _basis(width, block[1]).T
    # Of a cosine of amplitude 1 the sum is half of the pixels along an axis of a frequency above 0.
    unit = _STEP * channels * _BASIS_SCALE**2 * height * width / 4
    detail = np.rint(sums.reshape(len(grey), BITS) / unit)[:, 1:]
    bits = np.zeros((len(grey), BITS), np.uint8)  # the first, of the mean brightness, says nothing
    bits[:, 1:] = detail > np.median(detail, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def spectrum_hash(decibels: Array, top_db: float) -> Array:
    """Hashes log-mel spectra as pictures.

    Args:
        decibels: [n, frames, mel bands] float32, 0 to -top_db.
        top_db: as the spectra were made with.

    Returns:
        [n] uint64; FLAT where there is no detail.
    """
    grey = np.rint((decibels.astype(np.float64) / top_db + 1.0) * 255.0)
    return perceptual_hash(np.clip(grey, 0, 255).astype(np.uint8), SOUND_BLOCK)


def hamming(left: Array, right: Array) -> Array:
    """[n] bits that differ, uint8, of hashes [n] uint64 each."""
    return np.bitwise_count(left ^ right)


@functools.lru_cache(maxsize=16)
def _basis(size: int, frequencies: int) -> Array:
    """[frequencies, size] cosines of the DCT-II in whole numbers, float64; 0 of those that do not exist."""
    k, x = np.arange(frequencies)[:, None], np.arange(size)[None, :]
    return np.where(k < size, np.rint(_BASIS_SCALE * np.cos(math.pi * (2 * x + 1) * k / (2 * size))), 0.0)
