"""Losses, objectives and models on JAX: the same tests in a process whose Keras runs on it.

Thoroughly, all of them: JAX compiles each combination anew, for minutes.
"""

import os
import subprocess
import sys

import pytest

from tests.thorough import THOROUGH

ROOMS = (
    "tests/trainer/losses",
    "tests/trainer/self_supervised",
    # Of the backbones what is ours; those of Keras take minutes to be compiled.
    "tests/trainer/backbones/test_head.py",
    "tests/trainer/backbones/test_pooling.py",
    "tests/trainer/backbones/test_small_networks.py",
)
_LEFT_OUT = (
    "any_loss", "degenerate", "along_the_gradient", "saves_and_loads", "memory", "traced_before", "bfloat16",
    "order_of_the_batch", "from_its_configuration", "begins_from_its_seed",
)  # fmt: skip
_GRADIENTS = "not equals_differences or triplet or proxy_anchor or multi_similarity"
_QUICK = " and ".join([*(f"not {name}" for name in _LEFT_OUT), f"({_GRADIENTS})"])


@pytest.mark.slow
def test_losses_and_models_pass_on_jax() -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-m",
        "not slow",
        *([] if THOROUGH else ["-k", _QUICK]),
        *ROOMS,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=560, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
