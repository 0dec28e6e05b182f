"""Decodes seeded mutations of valid pictures; run as a process of its own, because a decoder may end it.

python -m tests.properties.damaged_pictures JPEG 0 2000
prints one line before each picture (its seed) and one JSON object at the end: outcome -> how often.
"""

import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from sim_transforms.errors import MediaError
from sim_transforms.media.image import decode_image, image_shape
from sim_transforms.settings.stages import ImageSettings

KINDS = ("JPEG", "PROGRESSIVE", "CMYK", "PNG", "PALETTE", "GIF", "BMP", "TIFF", "WEBP", "AVIF")
SHAPE = image_shape(ImageSettings(height=24, width=24, channels=3, resize="fit"))


def picture_of(kind: str, generator: np.random.Generator) -> bytes:
    """A valid file: coarse noise of some size."""
    width, height = (int(side) for side in generator.integers(8, 80, 2))
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8)).resize((width, height), 2)
    mode = {"CMYK": "CMYK", "PALETTE": "P", "GIF": "P"}.get(kind, "RGB")
    name = {"PROGRESSIVE": "JPEG", "CMYK": "JPEG", "PALETTE": "PNG"}.get(kind, kind)
    further = {"progressive": True} if kind == "PROGRESSIVE" else {}
    buffer = io.BytesIO()
    coarse.convert(mode).save(buffer, name, **further)
    return buffer.getvalue()


def mutated(data: bytes, generator: np.random.Generator) -> bytes:
    """One to eight damages: flipped bits, other bytes, pieces cut out, doubled or moved, the end cut off."""
    content = bytearray(data)
    for _ in range(int(generator.integers(1, 9))):
        if not content:
            break
        # Headers are short: half of the damages go there.
        place = int(generator.integers(0, min(len(content), 64) if generator.random() < 0.5 else len(content)))
        kind = int(generator.integers(0, 6))
        if kind == 0:
            content[place] ^= 1 << int(generator.integers(0, 8))
        elif kind == 1:
            content[place] = int(generator.choice([0, 1, 127, 128, 255]))
        elif kind == 2:
            del content[place : place + int(generator.integers(1, 40))]
        elif kind == 3:
            content[place:place] = content[place : place + int(generator.integers(1, 40))]
        elif kind == 4:
            content[place : place + 4] = generator.integers(0, 256, 4, np.uint8).tobytes()
        else:
            del content[place:]
    return bytes(content)


def outcome(data: bytes) -> str:
    """`accepted`, or the reason; anything but a MediaError gets out."""
    try:
        pixels = decode_image(data, SHAPE)
    except MediaError as error:
        return error.reason
    assert pixels.shape == SHAPE.shape
    return "accepted"


def count_outcomes(
    given: Sequence[str],
    kinds: Sequence[str],
    make: Callable[[str, np.random.Generator], bytes],
    outcome_of: Callable[[bytes], str],
) -> None:
    """Decodes the mutations of the seeds first, first + 1, ... of a kind; `given`: kind, first seed, how many."""
    kind, first, count = given[0], int(given[1]), int(given[2])
    outcomes: Counter[str] = Counter()
    for seed in range(first, first + count):
        sys.stdout.write(f"{seed}\n")
        sys.stdout.flush()
        generator = np.random.default_rng([seed, kinds.index(kind)])
        outcomes[outcome_of(mutated(make(kind, generator), generator))] += 1
    sys.stdout.write(json.dumps(outcomes) + "\n")


if __name__ == "__main__":
    count_outcomes(sys.argv[1:], KINDS, picture_of, outcome)
