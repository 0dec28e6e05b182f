"""A batch that two devices share gives the weights that one device gives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.small_catalogs import quiet
from tests.thorough import some


@pytest.mark.slow
@pytest.mark.parametrize("kind", some(["proxy_anchor", "multi_similarity", "memory", "simclr", "byol", "swav"], 2))
def test_two_devices_give_what_one_gives(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, "-m", "tests.trainer.mirrored", kind, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=quiet(), timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-3)
    for name in one.files:
        np.testing.assert_allclose(one[name], two[name], rtol=2e-3, atol=2e-4)
