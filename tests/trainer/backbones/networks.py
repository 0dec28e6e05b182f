"""Networks as the tests make them, and what they do with them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from sim_transforms.settings.training import BackboneSettings, TrainSettings
from trainer.backbones.make import make_network
from trainer.backbones.stages import Network
from trainer.backbones.weights import fetch_weights


def network(
    name: str, shape: tuple[int, ...] = (32, 32, 3), *, sound: bool = False, moments: Any = None, **backbone: Any
) -> Network:
    """Of seed 5 and dimension 8."""
    keras.utils.set_random_seed(5)
    settings = TrainSettings(embedding_size=8, backbone=BackboneSettings(name=name, **backbone))
    return make_network(settings, shape, sound, fetch_weights, moments)


def features(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shake(model: keras.Model, seed: int = 1) -> keras.Model:
    """Gives every weight another value, of a size with which a picture's differences pass through the whole depth.

    An untrained network in inference lets nothing through: its normalisations divide by variances that are not there.
    """
    random = np.random.default_rng(seed)
    model.set_weights([_shaken(weight.path, tuple(weight.shape), random) for weight in model.weights])
    return model


def _shaken(path: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    name = path.rpartition("/")[2]
    if name == "power":
        return np.float32(2.5)
    if name in ("gamma", "moving_variance"):
        return random.uniform(0.8, 1.2, shape).astype(np.float32)
    if "kernel" not in name:
        return random.normal(0.0, 0.1, shape).astype(np.float32)
    inputs = (
        shape[:2] if len(shape) == 4 and (shape[-1] == 1 or "depthwise" in path or "dwconv" in path) else shape[:-1]
    )
    return random.normal(0.0, np.sqrt(2 / np.prod(inputs)), shape).astype(np.float32)


def weights_of(layers: Any) -> dict[str, np.ndarray]:
    return {weight.path: keras.ops.convert_to_numpy(weight).copy() for layer in layers for weight in layer.weights}


def train_step(model: keras.Model, batch: np.ndarray) -> None:
    model.compile(keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    model.train_on_batch(batch, features(len(batch), model.output_shape[-1], seed=9))


def assert_saves_and_loads_the_same(model: keras.Model, batch: np.ndarray, path: Path) -> None:
    model.save(path)
    again = keras.saving.load_model(path)
    found = np.asarray(again(batch))
    np.testing.assert_array_equal(np.asarray(model(batch)), found)
    assert [w.path for w in again.weights] == [w.path for w in model.weights]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
