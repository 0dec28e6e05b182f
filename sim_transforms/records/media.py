"""What decoded media are: part of the manifests of examples and model, so that a query is decoded as its items were."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Clips:
    """How the items of an index lie in their sounds: clips of `seconds`, one every `hop_seconds`."""

    seconds: float
    hop_seconds: float


@dataclass(frozen=True)
class SoundShape:
    """How a sound is cut into clips and what is computed of each.

    Attributes:
        sample_rate: Hz of the decoded samples; one channel, the mean of all.
        seconds, hop_seconds: length of a clip, and how far the next one begins after it.
        min_seconds, max_seconds: shorter and longer sounds are rejected; of at least min_seconds is also what a last,
            closer clip is made for.
        silence_db: clips whose root mean square is below are skipped, in dB of full scale; null keeps all.
        window, step: samples of a spectrum, and between the beginnings of two.
        mel_bands, min_hz, max_hz: bands of equal width in mel, from min_hz to max_hz.
        top_db: what lies so far below a clip's loudest value is raised to it.
    """

    sample_rate: int
    seconds: float
    hop_seconds: float
    min_seconds: float
    max_seconds: float
    silence_db: float | None
    window: int
    step: int
    mel_bands: int
    min_hz: float
    max_hz: float
    top_db: float


@dataclass(frozen=True)
class MediaShape:
    """What one decoded item is, row-major bytes, and how a file becomes it.

    Attributes:
        kind: "image" or "audio".
        dtype: "uint8" of pictures, "int16" of sounds.
        shape: [height, width, channels], or [samples].
        resize: "stretch", "fit" (whole picture, the rest is background) or "fill" (its middle, cut at two sides).
        filter: of Pillow, by name.
        background: RGB of what shows through transparency and beside a picture that is fitted.
        max_pixels: most that a file may declare.
        min_side: fewest pixels of its shorter side.
        max_aspect: most times that a side may be as long as the other; null for any.
        sound: of audio; null of pictures.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    resize: str = "stretch"
    filter: str = "bilinear"
    background: tuple[int, ...] = (255, 255, 255)
    max_pixels: int = 50_000_000
    min_side: int = 1
    max_aspect: float | None = None
    sound: SoundShape | None = None

    @property
    def item_bytes(self) -> int:
        """Of one decoded item."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def clips(self) -> Clips | None:
        """Of sounds; null where an item is a whole file."""
        return Clips(self.sound.seconds, self.sound.hop_seconds) if self.sound else None

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """[height, width, channels] of the features: those of the picture, or frames, mel bands and 1."""
        if self.sound is None:
            return self.shape
        frames = 1 + (self.shape[0] - self.sound.window) // self.sound.step
        return (frames, self.sound.mel_bands, 1)
