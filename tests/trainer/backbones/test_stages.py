"""Staged unfreezing, step by step: what is frozen does not move by a bit, statistics of normalisations neither."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim_transforms.errors import UsageError
from tests.trainer.backbones.networks import features, network, shake, train_step, weights_of
from trainer.backbones.stages import Network

pytestmark = pytest.mark.slow

SHAPE = (16, 16, 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The small network of an earlier training, three blocks."""
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    shake(network("convolutional", SHAPE).model).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((2, None, 0), [1, 1, 6, 6, 6, 6, 6, 6, 6]),
        ((0, None, 0), [6] * 9),
        ((2, 3, 2), [1, 1, 2, 2, 3, 3, 4, 4, 4]),
        ((1, None, 1), [1, 2, 3, 4, 5, 6, 6, 6, 6]),
        ((3, 0, 1), [1] * 9),
        ((1, 99, 0), [1, 6, 6, 6, 6, 6, 6, 6, 6]),
    ],
)
def test_trained_stages_by_epoch_are_the_settings_plan(settings: Any, expected: list[int]) -> None:
    planned = Network(None, ((),) * 6, *settings)
    assert [planned.trained_stages(epoch) for epoch in range(9)] == expected


def _moved(made: Network) -> list[bool]:
    """For each group, whether a step of training moved any of its weights or statistics by a bit."""
    before = [weights_of(stage) for stage in made.stages]
    train_step(made.model, features(8, *SHAPE, seed=4))
    return [
        any(not np.array_equal(old[path], value) for path, value in weights_of(stage).items())
        for old, stage in zip(before, made.stages, strict=True)
    ]


def test_set_epoch_trains_the_head_then_block_by_block(trained: str) -> None:
    made = network("convolutional", SHAPE, weights=trained, frozen_epochs=1, unfreeze_every=2)
    changed, moved = [], []
    for epoch in range(7):
        changed.append(made.set_epoch(epoch))
        moved.append(sum(_moved(made)))
    assert changed == [False, True, False, True, False, True, False]
    assert moved == [1, 2, 2, 3, 3, 4, 4]


def test_set_epoch_of_a_resumed_run_needs_no_epoch_before(trained: str) -> None:
    made = network("convolutional", SHAPE, weights=trained, frozen_epochs=1, unfreeze_every=2)
    assert made.set_epoch(4)
    assert _moved(made) == [True, True, True, False]
    assert made.set_epoch(0)
    assert _moved(made) == [True, False, False, False]


def test_unfrozen_blocks_bounds_what_is_ever_trained(trained: str) -> None:
    made = network("convolutional", SHAPE, weights=trained, frozen_epochs=0, unfrozen_blocks=1)
    assert not made.set_epoch(100)
    assert _moved(made) == [True, True, False, False]


def test_frozen_normalisation_takes_moving_statistics_while_training(trained: str) -> None:
    made = network("convolutional", SHAPE, weights=trained, frozen_epochs=1)
    batch = features(8, *SHAPE, seed=4)
    served = np.asarray(made.model(batch, training=False))
    np.testing.assert_array_equal(np.asarray(made.model(batch, training=True)), served)
    made.set_epoch(1)
    assert np.abs(np.asarray(made.model(batch, training=True)) - served).max() > 1e-3


def test_random_network_is_trained_whole_from_the_start() -> None:
    made = network("convolutional", SHAPE, frozen_epochs=3)
    assert not made.set_epoch(0)
    assert _moved(made) == [True] * 4


def test_unfrozen_blocks_of_random_weights_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unfrozen_blocks: found 2 without train\.backbone\.weights"):
        network("convolutional", SHAPE, unfrozen_blocks=2)


def test_frozen_network_keeps_the_order_of_its_weights(trained: str) -> None:
    made = network("convolutional", SHAPE, weights=trained, frozen_epochs=1)
    frozen = [weight.path for weight in made.model.weights]
    made.set_epoch(1)
    assert [weight.path for weight in made.model.weights] == frozen


def test_pretrained_application_is_frozen_but_for_its_head(application_files: dict[str, Path]) -> None:
    weights = str(application_files["alone.weights.h5"])
    made = network("mobilenet_v3_small", weights=weights, frozen_epochs=1, unfrozen_blocks=1)
    for trains in (1, 2):
        before = [weights_of(stage) for stage in made.stages]
        train_step(made.model, features(4, 32, 32, 3))
        for number, (old, stage) in enumerate(zip(before, made.stages, strict=True)):
            same = [np.array_equal(old[path], value) for path, value in weights_of(stage).items()]
            assert all(same) if number >= trains else not all(same), f"group {number}"
        made.set_epoch(1)
