"""Seeded mutations of pictures and sounds: no crash, no hang, each decoded or refused.

Thoroughly, 20,000 of each medium.
"""

import json
import subprocess
import sys

import pytest

from tests.properties import damaged_pictures, damaged_sounds
from tests.thorough import THOROUGH, rounds

PICTURES, SOUNDS = rounds(2000, 150), rounds(1600, 120)
PICTURE_REASONS = {"accepted", "empty", "not_an_image", "too_large", "truncated", "damaged"}
SOUND_REASONS = {
    "accepted", "empty", "not_a_sound", "too_long", "too_short", "truncated", "damaged", "silent", "not_finite",
    "bad_rate", "bad_channels",
}  # fmt: skip


def _outcomes(module: str, kind: str, count: int) -> dict[str, int]:
    command = [sys.executable, "-m", f"tests.properties.{module}", kind, "0", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, f"after seed {done.stdout.split()[-1:]}: {done.stderr[-2000:]}"
    outcomes: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == count
    assert outcomes.get("accepted", 0) < count
    # A file of check sums throughout is refused for nearly any damage: among few, for all.
    assert outcomes.get("accepted", 0) > 0 or (kind == "OGG" and not THOROUGH)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("kind", damaged_pictures.KINDS)
def test_damaged_pictures_are_decoded_or_refused(kind: str) -> None:
    assert set(_outcomes("damaged_pictures", kind, PICTURES)) <= PICTURE_REASONS


@pytest.mark.slow
@pytest.mark.parametrize("kind", damaged_sounds.KINDS)
def test_damaged_sounds_are_decoded_or_refused(kind: str) -> None:
    assert set(_outcomes("damaged_sounds", kind, SOUNDS)) <= SOUND_REASONS
