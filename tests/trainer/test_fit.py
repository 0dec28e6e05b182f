"""Trainings from examples to weights: a killed one that goes on equals one that was never disturbed, bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from sim_transforms.errors import Collapsed, UsageError
from sim_transforms.settings.training import AugmentSettings, TrainSettings
from tests.thorough import some
from trainer.devices import check_shares
from trainer.fit import STEPS_FILE, Watchers, steps_per_epoch
from trainer.task import fitted_model, make_learner
from trainer.training_data import TrainingData

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(
    epochs=2,
    steps_per_epoch=5,
    classes_per_batch=4,
    examples_per_class=4,
    embedding_size=16,
    checkpoint_steps=2,
    self_supervised="none",
)
# What a resumed training has to restore beside weights, optimizer and position.
STATEFUL: dict[str, dict[str, Any]] = {
    "nothing more": {"self_supervised": "simclr"},
    "proxies": {"loss": "proxy_anchor"},
    "memory": {"loss": "contrastive", "memory": 64},
    "drawn pairs": {"loss": "triplet", "miner": "distance_weighted"},
    "target network": {"loss": "none", "self_supervised": "byol"},
    "prototypes": {"loss": "none", "self_supervised": "swav", "augment": AugmentSettings(local_crops=2)},
    "two streams": {"semi": True, "self_supervised": "vicreg"},
    "accumulated gradients": {"accumulate": 3},
    "mixed precision": {"precision": "mixed"},
}


class Killed(BaseException):
    """What a test throws into a training."""


def _watchers(folder: Path, killed_at: int | None = None, **hooks: Any) -> Watchers:
    def progress(name: str, step: int, total: int) -> None:
        if step == killed_at:
            raise Killed

    return Watchers(folder, progress, lambda message: None, **hooks)


def _train(examples: Path, settings: TrainSettings, watchers: Watchers) -> tuple[list[np.ndarray], dict[str, float]]:
    data = TrainingData(examples, settings)
    try:
        model, fitted = fitted_model(data, settings, watchers, Path)
    finally:
        data.close()
    return model.get_weights(), fitted.metrics


def _same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", some(sorted(STATEFUL), 1))
def test_training_killed_and_resumed_equals_an_undisturbed_one(digit_examples: Path, tmp_path: Path, kind: str) -> None:
    settings = replace(SETTINGS, **STATEFUL[kind])
    undisturbed = _train(digit_examples, settings, _watchers(tmp_path / "whole"))
    killed_at = 1 + sum(kind.encode()) % 9
    for step in (killed_at, min(10, killed_at + 3)):
        with pytest.raises(Killed):
            _train(digit_examples, settings, _watchers(tmp_path / "killed", step))
    resumed = _train(digit_examples, settings, _watchers(tmp_path / "killed"))
    _same(resumed[0], undisturbed[0])
    assert resumed[1] == undisturbed[1]


@pytest.mark.slow
def test_training_of_sounds_killed_and_resumed_equals_an_undisturbed_one(sound_examples: Path, tmp_path: Path) -> None:
    augment = AugmentSettings(time_mask=0.2, frequency_mask=0.2, mix=0.3, gain_db=6.0)
    settings = replace(SETTINGS, classes_per_batch=3, augment=augment, self_supervised="simclr")
    undisturbed = _train(sound_examples, settings, _watchers(tmp_path / "whole"))
    with pytest.raises(Killed):
        _train(sound_examples, settings, _watchers(tmp_path / "killed", 7))
    resumed = _train(sound_examples, settings, _watchers(tmp_path / "killed"))
    _same(resumed[0], undisturbed[0])


@pytest.mark.slow
def test_training_same_seed_gives_the_same_weights_and_another_seed_others(
    digit_examples: Path, tmp_path: Path
) -> None:
    first, again, other = (
        _train(digit_examples, replace(SETTINGS, seed=seed), _watchers(tmp_path / name))[0]
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    _same(first, again)
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.slow
def test_training_logs_a_line_a_step_also_after_a_kill(digit_examples: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, self_supervised="simclr")
    with pytest.raises(Killed):
        _train(digit_examples, settings, _watchers(tmp_path, 4))
    _train(digit_examples, settings, _watchers(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / STEPS_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 11))
    assert [line["step"] for line in lines if "validation" in line] == [5, 10]
    names = {"step", "epoch", "loss", "metric_loss", "self_supervised_loss", "positives", "negatives", "learning_rate"}
    assert set(lines[0]) == names
    assert lines[-1]["validation"]["precision_at_1"] > 0


@pytest.mark.slow
def test_a_resumed_training_says_where_it_goes_on(digit_examples: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(Killed):
        _train(digit_examples, SETTINGS, _watchers(tmp_path, 5))
    reported: list[int] = []
    watchers = Watchers(tmp_path, lambda name, step, total: reported.append(step), told.append)
    _train(digit_examples, SETTINGS, watchers)
    assert told == ["train: going on after step 4 of 10"]
    assert reported == [4, 5, 6, 7, 8, 9, 10]


def test_an_epoch_counts_the_batches_that_there_are(digit_examples: Path) -> None:
    settings = replace(SETTINGS, steps_per_epoch="auto", classes_per_batch=64, examples_per_class=2)
    data = TrainingData(digit_examples, settings)
    few = TrainingData(digit_examples, replace(settings, semi=True, self_supervised="simclr"))
    with data.batches() as batches:
        assert len(next(batches).classes) == data.batch == data.whole_batch == 20
    with few.batches() as batches:
        assert len(next(batches).classes) == few.whole_batch == 20 + 128
    assert steps_per_epoch(data, settings) == max(60, -(-len(data.training) // 20))
    data.close()
    few.close()


@pytest.mark.parametrize("scales", [(2.0**15, 2.0**15), (2.0**10, 2.0**14)])
def test_float16_gradients_of_proxies_are_divided_by_the_scale_that_they_have(
    digit_examples: Path, scales: tuple[float, float]
) -> None:
    settings = replace(SETTINGS, loss="proxy_anchor")
    data, before = TrainingData(digit_examples, settings), keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        learner = make_learner(data, settings, Path)
        learner._optimizer.dynamic_scale.assign(scales[0])
        learner._proxies.dynamic_scale.assign(scales[1])
        assert learner._scaled_for_proxies([tf.constant(scales[0])])[0] == scales[1]
    finally:
        keras.config.set_dtype_policy(before)
        data.close()


@pytest.mark.slow
def test_training_without_a_better_epoch_ends_early(digit_examples: Path, tmp_path: Path) -> None:
    epochs: list[int] = []
    settings = replace(
        SETTINGS, epochs=30, patience=2, learning_rate=1e-12, checkpoint_steps=None, select_by="map_at_r"
    )
    watchers = _watchers(tmp_path, on_epoch=lambda epoch, value: epochs.append(epoch))
    data = TrainingData(digit_examples, settings)
    _, fitted = fitted_model(data, settings, watchers, Path)
    data.close()
    assert fitted.epochs == len(epochs) < 30
    assert fitted.epochs == fitted.epoch + 1 + 2


@pytest.mark.slow
def test_training_at_a_rate_that_breaks_everything_ends_as_collapsed(digit_examples: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e6, epochs=6, loss="contrastive")
    with pytest.raises(Collapsed, match="learning_rate"):
        _train(digit_examples, settings, _watchers(tmp_path))


@pytest.mark.slow
def test_byol_on_few_digits_is_healthy(digit_examples: Path, tmp_path: Path) -> None:
    settings = TrainSettings(loss="none", self_supervised="byol", epochs=3, steps_per_epoch=30)
    _, figures = _train(digit_examples, settings, _watchers(tmp_path))
    assert figures["spread"] > 0.3
    assert figures["knn_probe"] > 0.3


@pytest.mark.slow
def test_training_writes_what_tensorboard_shows(digit_examples: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _train(digit_examples, replace(SETTINGS, tensorboard=True, epochs=1), _watchers(tmp_path))
    shown = EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    assert {"step/loss", "step/positives", "step/negatives", "epoch/precision_at_1"} <= set(shown.Tags()["tensors"])
    assert len(shown.Tensors("step/loss")) == 5
    items = (tmp_path / "tensorboard" / "items.tsv").read_text().splitlines()
    vectors = (tmp_path / "tensorboard" / "vectors.tsv").read_text().splitlines()
    assert items[0] == "item_id\tlabel"
    assert len(items) - 1 == len(vectors) > 10


def test_semi_supervised_batches_hold_as_many_items_without_a_label(digit_examples: Path) -> None:
    data = TrainingData(digit_examples, replace(SETTINGS, semi=True, self_supervised="simclr"))
    with data.batches() as batches:
        batch = next(batches)
    data.close()
    assert (batch.classes[:16] >= 0).all()
    assert (batch.classes[16:] == -1).all()
    assert batch.features.shape == (32, 16, 16, 1)


def test_shares_of_several_devices_must_be_even() -> None:
    check_shares(16, 4)
    with pytest.raises(UsageError, match="a multiple of the 3 devices"):
        check_shares(16, 3)
