"""Views of clips: two windows that begin at other moments of the same sound, each under other noise.

A window is cut out of a clip and the one after it, so that what stands in it was really played there; where no clip
follows, the clip is moved and silence fills it up. Noise is white, pink or brown, at 0 to 40 dB below the sound.
"""

from typing import Any

import numpy as np

from sim_transforms.records.clips import clip_id, sound_of, start_of
from sim_transforms.records.media import SoundShape

Array = np.ndarray[Any, Any]

_QUIETEST_NOISE, _LOUDEST_NOISE = 40.0, 0.0
_NOISE_SECONDS = 60
# Noise whose power falls with the frequency to the power of 0, 1 and 2.
_COLOURS = (0.0, 1.0, 2.0)


class ClipNeighbors:
    """Which row holds the clip after each, by ids of the form `<sound>#<start>` and the clips' hop."""

    def __init__(self, item_ids: Array, sound: SoundShape) -> None:
        """Looks at no media."""
        places = {str(item_id): row for row, item_id in enumerate(item_ids)}
        self.follows = np.full(len(item_ids), -1, np.int64)
        if sound.hop_seconds > sound.seconds:
            return
        for item_id, row in places.items():
            start = start_of(item_id)
            assert start is not None
            self.follows[row] = places.get(clip_id(sound_of(item_id), start + sound.hop_seconds), -1)


class SoundViews:
    """Makes views of clips by a seeded generator.

    Args:
        sound: how clips are cut.
        seed: of the noise and of all draws.
    """

    def __init__(self, sound: SoundShape, seed: int) -> None:
        self._hop = round(sound.hop_seconds * sound.sample_rate)
        self._generator = np.random.default_rng([seed, 0x50DA])
        count = round(max(_NOISE_SECONDS, 2 * sound.seconds) * sound.sample_rate)
        self._noises = [_noise(self._generator, count, colour) for colour in _COLOURS]

    def pair(self, clip: Array, following: Array | None) -> tuple[bytes, bytes]:
        """Two views of a clip [samples] int16, given the clip that begins a hop after it, as row-major bytes."""
        if following is None:
            silence = np.zeros(self._hop, clip.dtype)
            longer, room = np.concatenate([silence, clip, silence]), 2 * self._hop
            most = min(room, len(clip))
            first, second = (self._window(longer, len(clip), self._hop - most // 2, most) for _ in range(2))
            return first, second
        longer = np.concatenate([clip[: self._hop], following])
        first, second = (self._window(longer, len(clip), 0, len(longer) - len(clip)) for _ in range(2))
        return first, second

    def _window(self, longer: Array, length: int, low: int, room: int) -> bytes:
        start = low + int(self._generator.integers(room + 1))
        window = longer[start : start + length].astype(np.float32)
        noise = self._noises[int(self._generator.integers(len(self._noises)))]
        place = int(self._generator.integers(len(noise) - length + 1))
        below = self._generator.uniform(_LOUDEST_NOISE, _QUIETEST_NOISE)
        loudness = np.sqrt(np.mean(np.square(window), dtype=np.float64)) * 10.0 ** (-below / 20.0)
        mixed = window + np.float32(loudness) * noise[place : place + length]
        peak = max(1.0, float(np.abs(mixed).max()) / 32_767.0)
        return bytes(np.rint(mixed / np.float32(peak)).astype("<i2").tobytes())


def _noise(generator: np.random.Generator, count: int, colour: float) -> Array:
    """[count] float32 of root mean square 1."""
    spectrum = np.fft.rfft(generator.standard_normal(count))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (colour / 2)
    noise = np.fft.irfft(spectrum, count)
    return (noise / np.sqrt(np.mean(np.square(noise)))).astype(np.float32)
