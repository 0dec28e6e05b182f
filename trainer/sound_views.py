"""Views of clips: two windows that begin at other moments of the same sound, each under other noise.

A window is cut out of a clip and the one after it, so that what stands in it was really played there; where no clip
follows, the clip is moved and silence fills it up. Noise is white, pink or brown, at 0 to 40 dB below the sound.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim_transforms.records.clips import clip_id, sound_of, start_of
from sim_transforms.records.media import SoundShape
from sim_transforms.settings.training import AugmentSettings

Array = np.ndarray[Any, Any]

# Below the loudest noise, dB.
_NOISE_RANGE = 40.0
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
        strength: of noise, gain and mixing.
    """

    def __init__(self, sound: SoundShape, seed: int, strength: AugmentSettings) -> None:
        self._strength = strength
        self._hop = round(sound.hop_seconds * sound.sample_rate)
        self._generator = np.random.default_rng([seed, 0x50DA])
        count = round(max(_NOISE_SECONDS, 2 * sound.seconds) * sound.sample_rate)
        self._noises = [_noise(self._generator, count, colour) for colour in _COLOURS]

    def position(self) -> dict[str, Any]:
        """How far the draws have come, as plain values."""
        return dict(self._generator.bit_generator.state)

    def go_to(self, position: dict[str, Any]) -> None:
        """Goes on from a position."""
        self._generator.bit_generator.state = position

    def pairs(self, clips: Sequence[Array], following: Sequence[Array | None]) -> list[tuple[bytes, bytes]]:
        """Two views of each clip of a batch, into which the next one of the batch may be mixed."""
        others = [*clips[1:], clips[0]]
        return [self.pair(*three) for three in zip(clips, following, others, strict=True)]

    def pair(self, clip: Array, following: Array | None, other: Array | None = None) -> tuple[bytes, bytes]:
        """Two views of a clip, as row-major bytes.

        Args:
            clip: [samples] int16.
            following: the clip that begins a hop after it; null for none.
            other: [samples] int16 of another sound, for mixing.
        """
        if following is None:
            silence = np.zeros(self._hop, clip.dtype)
            longer, room = np.concatenate([silence, clip, silence]), 2 * self._hop
            most = min(room, len(clip))
            first, second = (self._view(longer, other, self._hop - most // 2, most, len(clip)) for _ in range(2))
            return first, second
        longer = np.concatenate([clip[: self._hop], following])
        first, second = (self._view(longer, other, 0, len(longer) - len(clip), len(clip)) for _ in range(2))
        return first, second

    def _view(self, longer: Array, other: Array | None, low: int, room: int, length: int) -> bytes:
        start = low + int(self._generator.integers(room + 1))
        window: Array = longer[start : start + length].astype(np.float32)
        if other is not None and self._strength.mix:
            share = np.float32(self._generator.uniform(0.0, self._strength.mix))
            window = (1 - share) * window + share * other
        if self._strength.noise_db is not None:
            window = window + self._noise_for(window, self._strength.noise_db)
        if self._strength.gain_db:
            gain = self._generator.uniform(-self._strength.gain_db, self._strength.gain_db)
            window = window * np.float32(10.0 ** (gain / 20.0))
        peak = max(1.0, float(np.abs(window).max()) / 32_767.0)
        return bytes(np.rint(window / np.float32(peak)).astype("<i2").tobytes())

    def _noise_for(self, window: Array, loudest_db: float) -> Array:
        noise = self._noises[int(self._generator.integers(len(self._noises)))]
        place = int(self._generator.integers(len(noise) - len(window) + 1))
        below = self._generator.uniform(-loudest_db, _NOISE_RANGE - loudest_db)
        loudness = np.sqrt(np.mean(np.square(window), dtype=np.float64)) * 10.0 ** (-below / 20.0)
        return np.float32(loudness) * noise[place : place + len(window)]


def _noise(generator: np.random.Generator, count: int, colour: float) -> Array:
    """[count] float32 of root mean square 1."""
    spectrum = np.fft.rfft(generator.standard_normal(count))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (colour / 2)
    noise = np.fft.irfft(spectrum, count)
    return (noise / np.sqrt(np.mean(np.square(noise)))).astype(np.float32)
