"""Decodes seeded mutations of valid sounds; run as a process of its own, because a decoder may end it.

python -m tests.properties.damaged_sounds OGG 0 2000
prints as `damaged_pictures` does.
"""

import sys

import numpy as np

from sim_transforms.errors import MediaError
from sim_transforms.media.sound import decode_sound, sound_shape
from sim_transforms.settings.stages import SoundSettings
from tests.properties.damaged_pictures import count_outcomes
from tests.unit.media.sounds import encoded, melody

KINDS = ("WAV8", "WAV16", "WAV24", "WAVFLOAT", "WAVADPCM", "AIFF", "FLAC", "OGG", "OPUS", "MP3", "M4A", "WMA", "WEBM")
SHAPE = sound_shape(SoundSettings(sample_rate=8000, seconds=0.5, hop_seconds=0.25, min_seconds=0.1, max_seconds=60.0))


def sound_of(kind: str, generator: np.random.Generator) -> bytes:
    """A valid file: a third of a second or more, one or two channels."""
    rate = 48_000 if kind in ("OPUS", "WEBM") else int(generator.choice([16_000, 44_100]))
    samples = melody(float(generator.uniform(0.3, 0.8)), rate, int(generator.integers(1000)))
    return encoded(np.stack([samples, samples], axis=1) if generator.random() < 0.5 else samples, rate, kind)


def outcome(data: bytes) -> str:
    """`accepted`, or the reason; anything but a MediaError gets out."""
    try:
        parts = decode_sound(data, SHAPE).parts
    except MediaError as error:
        return error.reason
    assert all(len(part.media) == 2 * SHAPE.shape[0] for part in parts)
    return "accepted"


if __name__ == "__main__":
    count_outcomes(sys.argv[1:], KINDS, sound_of, outcome)
