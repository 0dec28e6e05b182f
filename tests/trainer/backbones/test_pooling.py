"""The generalised mean against a loop, at its limits, and as a trained layer."""

import keras
import numpy as np
import pytest

from trainer.backbones.pooling import GeneralizedMean


def _places(shape: tuple[int, ...] = (2, 5, 3, 4)) -> np.ndarray:
    """Half of the values are below zero, as after a network without a last ReLU."""
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def _slow(places: np.ndarray, power: float, eps: float = 1e-6) -> np.ndarray:
    batch, height, width, channels = places.shape
    pooled = np.zeros((batch, channels))
    for item in range(batch):
        for channel in range(channels):
            values = [float(places[item, y, x, channel]) for y in range(height) for x in range(width)]
            pooled[item, channel] = (sum(max(v, eps) ** power for v in values) / len(values)) ** (1 / power)
    return pooled


@pytest.mark.parametrize("power", [0.5, 1.0, 2.2, 3.0, 8.0])
def test_generalized_mean_random_places_equals_the_loop(power: float) -> None:
    found = np.asarray(GeneralizedMean(power)(_places()))
    np.testing.assert_allclose(found, _slow(_places(), power), rtol=2e-5)


def test_generalized_mean_of_power_one_is_the_mean() -> None:
    places = np.abs(_places())
    np.testing.assert_allclose(np.asarray(GeneralizedMean(1.0)(places)), places.mean((1, 2)), rtol=1e-5)


def test_generalized_mean_of_a_large_power_is_near_the_maximum() -> None:
    places = np.abs(_places())
    found = np.asarray(GeneralizedMean(200.0)(places))
    np.testing.assert_allclose(found, places.max((1, 2)), rtol=0.02)
    assert (found <= places.max((1, 2)) * 1.0001).all()


def test_generalized_mean_over_time_keeps_the_bands_apart() -> None:
    places = np.abs(_places())
    found = np.asarray(GeneralizedMean(1.0, axes=(1,))(places))
    np.testing.assert_allclose(found, places.mean(1), rtol=1e-5)


def _trained(values: np.ndarray, power: float, rate: float) -> list[np.ndarray]:
    """Weights after a step, of a factor before the pooling and of its power."""
    inputs = keras.Input(values.shape[1:])
    factor = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones", name="factor")
    model = keras.Model(inputs, GeneralizedMean(power, name="gem")(factor(inputs)))
    model.compile(keras.optimizers.SGD(rate), loss="mse", jit_compile=False)
    model.train_on_batch(values, np.full((len(values), 1), 2.0, np.float32))
    return [np.asarray(value) for value in model.get_weights()]


@pytest.mark.parametrize("power", [0.5, 3.0, 40.0])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_generalized_mean_gradient_is_finite_at_zeros(power: float, share: float) -> None:
    values = np.zeros((2, 4, 4, 1), np.float32)
    values[:, : int(4 * share)] = 0.7
    factor, trained = _trained(values, power, 0.01)
    assert np.isfinite(factor).all()
    assert np.isfinite(trained)
    assert (trained != power) == (share > 0)


def test_generalized_mean_power_stays_above_zero_however_large_the_step() -> None:
    values = np.abs(_places((2, 4, 4, 1))) + 3
    _, power = _trained(values, 3.0, 1e6)
    assert 0 < power < 3


def test_generalized_mean_under_a_mixed_policy_computes_in_float32() -> None:
    mixed = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    places = _places()
    layer = GeneralizedMean(3.0, dtype=mixed)
    found = layer(keras.ops.convert_to_tensor(places))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(GeneralizedMean(3.0)(places)))


def test_generalized_mean_saved_after_training_is_the_same(tmp_path) -> None:
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, GeneralizedMean(2.0, name="gem")(inputs))
    model.get_layer("gem").power.assign(4.5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    places = _places((2, 4, 4, 2))
    np.testing.assert_array_equal(np.asarray(model(places)), np.asarray(again(places)))
    np.testing.assert_allclose(np.asarray(again(places)), _slow(places, 4.5), rtol=2e-5)
