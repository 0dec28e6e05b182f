"""Waveforms as small drawings, and clips as small WAV files, by NumPy alone."""

import io
import wave
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BINS, HEIGHT = 96, 48
# Of a WAV file in a page: at most 5 s at 8 to 16 kHz, 16 bits, which is 160 KiB.
_MOST_SECONDS, _LOWEST_RATE = 5, 8000
_FULL_SCALE = 32_768


@dataclass(frozen=True)
class Waveform:
    """An outline in a box of `width` x `height`: "x,y" points of the maxima, left to right, and of the minima back."""

    points: str
    seconds: float
    width: int = BINS
    height: int = HEIGHT


def draw_waveform(samples: Array, sample_rate: int) -> Waveform:
    """Draws the least and the largest sample of each of BINS equal parts.

    Args:
        samples: [n] int16, at least one.
        sample_rate: Hz.
    """
    count = min(BINS, len(samples))
    begins = np.arange(count) * len(samples) // count
    high, low = np.maximum.reduceat(samples, begins), np.minimum.reduceat(samples, begins)
    step = BINS / count
    edge = [(place * step + step / 2, _y(int(value))) for place, value in enumerate(high)]
    edge += [(place * step + step / 2, _y(int(low[place])) + 0.6) for place in reversed(range(count))]
    return Waveform(" ".join(f"{x:.1f},{y:.1f}" for x, y in edge), round(len(samples) / sample_rate, 3))


def _y(value: int) -> float:
    return (1 - value / _FULL_SCALE) * (HEIGHT - 1) / 2


def wav_bytes(samples: Array, sample_rate: int) -> bytes:
    """A WAV file to listen to: cut to 5 s, and of high rates the mean of each few samples.

    Args:
        samples: [n] int16.
        sample_rate: Hz.
    """
    factor = max(1, sample_rate // _LOWEST_RATE)
    kept = samples[: _MOST_SECONDS * sample_rate]
    kept = kept[: len(kept) // factor * factor].astype(np.int32).reshape(-1, factor).mean(axis=1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(round(sample_rate / factor))
        file.writeframes(np.rint(kept).astype("<i2").tobytes())
    return buffer.getvalue()
