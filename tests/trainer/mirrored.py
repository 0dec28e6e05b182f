"""Steps on one device and on two that share each batch, in a process whose processor is cut in two; prints weights."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sim_transforms.settings.training import TrainSettings
from trainer.backbones.stages import Network
from trainer.devices import MirroredDevices, OneDevice
from trainer.learner import Learner, Terms
from trainer.losses.make import make_loss
from trainer.model import MetricEmbedding
from trainer.self_supervised.make import make_objective

SIZE, ITEMS, CLASSES = 8, 16, 4


def steps(kind: str, output: Path) -> None:
    """Runs a few steps on both and saves the weights."""
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.config.experimental.enable_op_determinism()
    for name, devices in (("one", OneDevice()), ("two", MirroredDevices(["CPU:0", "CPU:1"]))):
        keras.utils.set_random_seed(0)
        settings = replace(TrainSettings(), embedding_size=SIZE, learning_rate=0.01)
        with devices.scope():
            inputs = keras.Input((6,))
            hidden = keras.layers.Dense(12, activation="tanh")(inputs)
            model = keras.Model(inputs, MetricEmbedding(SIZE)(hidden))
            terms = _terms(kind, model, settings)
        learner = Learner(
            Network(model, ()), terms, lambda x, classes, seed: ([x, x * 1.1], classes), settings, 20, devices
        )
        generator = np.random.default_rng(0)
        for number in range(8):
            features = generator.normal(size=(ITEMS, 6)).astype(np.float32)
            told = learner.step(tf.constant(features), np.arange(ITEMS, dtype=np.int32) % CLASSES, number)
        np.savez(output / f"{name}.npz", loss=told["loss"], **{str(n): w for n, w in enumerate(model.get_weights())})


def _views(features: Any, classes: Any, seed: Any) -> tuple[list[Any], Any]:
    return [features, features * 1.1], classes


def _terms(kind: str, model: keras.Model, settings: TrainSettings) -> Terms:
    if kind in ("byol", "swav", "barlow_twins", "simclr"):
        objective = make_objective(replace(settings, self_supervised=kind))
        objective.build_for(model, SIZE, lambda vectors: vectors, 0)
        return Terms(None, objective)
    memory = 32 if kind == "memory" else 0
    metric = make_loss(
        "contrastive" if memory else kind,
        {"distance": "auto", "miner": "auto", "reducer": "auto"},
        {},
        memory,
        SIZE,
        CLASSES,
        0,
    )
    return Terms(metric, None)


if __name__ == "__main__":
    steps(sys.argv[1], Path(sys.argv[2]))
