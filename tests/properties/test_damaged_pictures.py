"""20,000 seeded mutations of pictures: no crash, no hang, each accepted or rejected with a reason."""

import json
import subprocess
import sys

import pytest

from tests.properties.damaged_pictures import KINDS

EACH = 2000
REASONS = {"accepted", "empty", "not_an_image", "too_large", "truncated", "damaged"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_pictures_are_decoded_or_refused(kind: str) -> None:
    command = [sys.executable, "-m", "tests.properties.damaged_pictures", kind, "0", str(EACH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"after seed {done.stdout.split()[-1:]}: {done.stderr[-2000:]}"
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == EACH
    assert set(outcomes) <= REASONS
    assert 0 < outcomes["accepted"] < EACH
