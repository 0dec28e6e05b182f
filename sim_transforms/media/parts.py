"""What a decoded file is: one part of a picture, a clip each of a sound, and the facts of the file."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

# Larger files of pictures, and of sounds, are refused before they are read.
MAX_FILE_BYTES, MAX_SOUND_BYTES = 100 * 2**20, 500 * 2**20

# Of a sound that is being decoded: [frames, channels] float32, full scale at 1.
Blocks = Generator[np.ndarray[Any, Any], None, None]


@dataclass(frozen=True)
class Part:
    """One item's media.

    Attributes:
        start: seconds at which a clip begins; null of a picture.
        media: row-major bytes, as `MediaShape` says.
    """

    start: float | None
    media: bytes


@dataclass(frozen=True)
class FileFacts:
    """What is told of a file beside its content; 0 where it has no meaning.

    Attributes:
        size_bytes: of the file.
        width, height: pixels as the file declares them.
        seconds: of the whole sound.
        sample_rate, channels: as the file has them.
    """

    size_bytes: int
    width: int = 0
    height: int = 0
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0


@dataclass(frozen=True)
class Parts:
    """A decoded file.

    Attributes:
        parts: at least one.
        skipped: clips left out because they are silent.
        facts: of the file.
    """

    parts: tuple[Part, ...]
    skipped: int
    facts: FileFacts
