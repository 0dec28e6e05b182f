"""The two small networks: any shape, and weights as they always were."""

import numpy as np
import pytest

from sim_transforms.errors import UsageError
from tests.trainer.backbones.networks import assert_saves_and_loads_the_same, features, network, shake
from trainer.backbones.convolutional import convolutional_model
from trainer.backbones.sound import sound_model
from trainer.model import MetricEmbedding

CONVOLUTIONAL = {
    "conv0/kernel": (3, 3, 1, 32), "norm0/gamma": (32,), "norm0/beta": (32,),
    "norm0/moving_mean": (32,), "norm0/moving_variance": (32,),
    "conv1/kernel": (3, 3, 32, 64), "norm1/gamma": (64,), "norm1/beta": (64,),
    "norm1/moving_mean": (64,), "norm1/moving_variance": (64,),
    "conv2/kernel": (3, 3, 64, 128), "norm2/gamma": (128,), "norm2/beta": (128,),
    "norm2/moving_mean": (128,), "norm2/moving_variance": (128,),
    "embedding/linear/kernel": (2048, 8), "embedding/linear/bias": (8,),
}  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 4, 1), (16, 16, 1), (33, 20, 3), (96, 96, 3)])
def test_convolutional_model_any_shape_saves_and_loads_the_same(shape: tuple[int, ...], tmp_path) -> None:
    assert_saves_and_loads_the_same(
        convolutional_model(shape, MetricEmbedding(8)), features(2, *shape), tmp_path / "model.keras"
    )


@pytest.mark.parametrize("shape", [(17, 16, 1), (63, 40, 1), (100, 64, 1)])
def test_sound_model_any_shape_saves_and_loads_the_same(shape: tuple[int, ...], tmp_path) -> None:
    assert_saves_and_loads_the_same(
        sound_model(shape, MetricEmbedding(8)), features(2, *shape), tmp_path / "model.keras"
    )


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("pooling", ["average", "max", "gem"])
def test_small_network_of_another_pooling_saves_and_loads_the_same(pooling: str, sound: bool, tmp_path) -> None:
    made = network("auto", (33, 20, 1), sound=sound, pooling=pooling).model
    assert_saves_and_loads_the_same(made, features(2, 33, 20, 1), tmp_path / "model.keras")
    bands = 2 if sound else 1  # four halvings of 20 bands, which stay apart
    assert made.get_layer("embedding").linear.kernel.shape == (128 * bands, 8)


def test_convolutional_model_has_the_weights_that_fingerprints_were_made_of() -> None:
    model = convolutional_model((16, 16, 1), MetricEmbedding(8))
    assert {weight.path: tuple(weight.shape) for weight in model.weights} == CONVOLUTIONAL
    assert [weight.path for weight in model.weights] == list(CONVOLUTIONAL)


def test_auto_network_is_the_small_one_of_its_media() -> None:
    picture, spectrum = features(2, 16, 16, 1), features(2, 64, 32, 1)
    for name, sound, batch in (("convolutional", False, picture), ("sound", True, spectrum)):
        chosen, named = (network(n, batch.shape[1:], sound=sound).model for n in ("auto", name))
        np.testing.assert_array_equal(np.asarray(chosen(batch)), np.asarray(named(batch)))


def test_sound_network_keeps_frequencies_apart_and_not_times() -> None:
    model = shake(network("sound", (64, 32, 1), sound=True).model)
    batch = np.zeros((1, 64, 32, 1), np.float32)
    batch[0, 16:24, 8:12] = 1.0
    later, higher = np.roll(batch, 16, axis=1), np.roll(batch, 16, axis=2)
    start, moved, other = (np.asarray(model(x))[0] for x in (batch, later, higher))
    np.testing.assert_allclose(start, moved, atol=1e-5)
    assert np.abs(start - other).max() > 1e-3


def test_sound_network_for_pictures_is_refused() -> None:
    with pytest.raises(UsageError, match=r"backbone\.name: found sound for pictures"):
        network("sound", (32, 32, 3))


def test_small_network_blocks_are_its_convolutions_from_the_head_on() -> None:
    names = [[layer.name for layer in stage if layer.weights] for stage in network("auto", (16, 16, 1)).stages]
    assert names == [["embedding"], ["conv2", "norm2"], ["conv1", "norm1"], ["conv0", "norm0"]]
