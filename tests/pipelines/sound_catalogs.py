"""Small catalogs of sounds: melodies of a few sine tones, of a class by the tones they are made of."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 8000
COLUMNS = ("item_id", "uri", "label", "split", "place")
# The lowest tone of each class, in Hz.
CLASSES = {"low": 220.0, "middle": 440.0, "high": 880.0}


def melody(seed: int, seconds: float, base: float) -> NDArray[np.float32]:
    """[samples] float32: a tone of a scale over `base` Hz for each half second, drawn by the seed."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    steps = rng.integers(0, 12, int(np.ceil(2 * seconds)) + 1)
    tones = base * 2.0 ** (steps[(2 * times).astype(int)] / 12)
    phases = 2 * np.pi * np.cumsum(tones) / RATE
    return (0.4 * np.sin(phases) + 0.1 * np.sin(3 * phases)).astype(np.float32)


def write_sound(path: Path, samples: NDArray[np.float32]) -> None:
    """Writes a WAV file of 16 bits."""
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def write_rows(catalog: Path, rows: Sequence[dict[str, str]]) -> None:
    """Writes the catalog."""
    with catalog.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def sounds_catalog(folder: Path, count: int) -> list[dict[str, str]]:
    """Writes `count` melodies of 3 to 8 seconds, a third of a class each and every fourth for testing; the rows."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        label = list(CLASSES)[number % len(CLASSES)]
        name = f"tune-{number:02d}"
        write_sound(folder / f"{name}.wav", melody(number, 3.0 + number % 6, CLASSES[label]))
        split = "test" if number % 4 == 3 else "train"
        rows.append({"item_id": name, "uri": f"{name}.wav", "label": label, "split": split, "place": str(number)})
    return rows
