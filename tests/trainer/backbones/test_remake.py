"""A network made anew: in full precision after mixed training, and with names of its own."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from tests.trainer.backbones.networks import features, network, shake, train_step
from trainer.backbones.remake import in_float32


@pytest.fixture
def mixed() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("convolutional", (16, 16, 1)),
        pytest.param("mobilenet_v3_small", (32, 32, 3), marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("mixed")
def test_in_float32_after_mixed_training_has_the_weights_and_no_mixed_layer(
    name: str, shape: tuple[int, ...], tmp_path
) -> None:
    trained = network(name, shape).model
    batch = features(4, *shape)
    train_step(trained, batch)
    shake(trained)
    made = in_float32(trained)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert [weight.path for weight in made.weights] == [weight.path for weight in trained.weights]
    for left, right in zip(trained.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert {layer.dtype_policy.name for layer in made.layers} == {"float32"}
    keras.config.set_dtype_policy("float32")
    plain = network(name, shape).model
    plain.set_weights(trained.get_weights())
    expected = np.asarray(plain(batch))
    np.testing.assert_array_equal(np.asarray(made(batch)), expected)
    rough = np.asarray(trained(batch))
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - expected).max() < 0.2
    made.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(keras.saving.load_model(tmp_path / "model.keras")(batch)), expected)


def test_in_float32_of_a_float32_model_is_the_same(tmp_path) -> None:
    model, batch = network("convolutional", (16, 16, 1)).model, features(2, 16, 16, 1)
    np.testing.assert_array_equal(np.asarray(in_float32(model)(batch)), np.asarray(model(batch)))


def test_in_float32_keeps_what_is_trainable() -> None:
    model = network("convolutional", (16, 16, 1)).model
    model.get_layer("norm1").trainable = False
    made = in_float32(model)
    assert [layer.trainable for layer in made.layers] == [layer.trainable for layer in model.layers]
    assert not made.get_layer("norm1").trainable
