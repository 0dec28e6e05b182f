"""Networks of `keras.applications`: each is built, saved and loaded; names and weights are those of every run."""

import re

import keras
import numpy as np
import pytest

from sim_transforms.errors import UsageError
from tests.thorough import some
from tests.trainer.backbones.networks import assert_saves_and_loads_the_same, features, network, shake
from trainer.backbones.applications import APPLICATIONS

pytestmark = pytest.mark.slow

LIGHT = ("mobilenet_v3_small",)
# Of the layers of a smaller one of their family; to save and load them takes a minute.
LARGE = ("efficientnet_v2_m", "efficientnet_v2_l", "convnext_small", "convnext_base", "convnext_large")
# Groups of layers: the head, the blocks and the stem.
STAGES = {
    **{f"efficientnet_v2_{size}": 8 for size in ("b0", "b1", "b2", "b3", "s")},
    **{f"efficientnet_v2_{size}": 9 for size in ("m", "l")},
    **{f"convnext_{size}": 6 for size in ("tiny", "small", "base", "large")},
    "resnet50": 6,
    "resnet50_v2": 6,
    "mobilenet_v2": 18,
    "mobilenet_v3_small": 12,
    "mobilenet_v3_large": 16,
}


@pytest.mark.parametrize("name", sorted({*LIGHT, *some(sorted(APPLICATIONS), 1)}))
def test_application_of_the_smallest_size_has_its_blocks_and_saves_and_loads_the_same(name: str, tmp_path) -> None:
    made = network(name, (32, 32, 1))
    assert len(made.stages) == STAGES[name]
    assert all(any(layer.weights for layer in stage) for stage in made.stages)
    assert sum(len(stage) for stage in made.stages) == len(made.model.layers)
    assert not [weight.path for weight in made.model.weights if re.search(r"/variable(_\d+)?$", weight.path)]
    if name in LARGE:
        assert made.model(features(2, 32, 32, 1)).shape == (2, 8)
        return
    # Statistics of an untrained normalisation let nothing through its depth.
    assert_saves_and_loads_the_same(shake(made.model), features(2, 32, 32, 1), tmp_path / "model.keras")


@pytest.mark.parametrize(
    "pooling", ["auto", *(pytest.param(p, marks=pytest.mark.slow) for p in some(("flatten", "average", "max"), 1))]
)
def test_application_of_an_odd_size_and_any_pooling_saves_and_loads_the_same(pooling: str, tmp_path) -> None:
    made = network("mobilenet_v3_small", (45, 67, 3), pooling=pooling).model
    assert_saves_and_loads_the_same(shake(made), features(2, 45, 67, 3), tmp_path / "model.keras")
    places = 6 if pooling == "flatten" else 1  # 2 x 3
    assert made.get_layer("embedding").linear.kernel.shape == (576 * places, 8)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", pytest.param("efficientnet_v2_b0", marks=pytest.mark.slow)])
def test_application_of_the_same_seed_has_the_same_names_and_weights(name: str) -> None:
    first = network(name).model
    keras.layers.Dense(1)  # moves Keras's counter of names on
    second = network(name).model
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert [weight.path for weight in first.weights] == [weight.path for weight in second.weights]
    assert len({weight.path for weight in first.weights}) == len(first.weights)
    for left, right in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_application_of_another_seed_has_other_weights() -> None:
    first, second = network("mobilenet_v3_small").model, keras.models.clone_model(network("mobilenet_v3_small").model)
    assert not np.array_equal(first.get_layer("conv").get_weights()[0], second.get_layer("conv").get_weights()[0])


@pytest.mark.slow
def test_convnext_names_hold_no_counter_of_the_process() -> None:
    # Its last normalisation has no name in keras.applications, and its layer scales have weights without one.
    paths = [[weight.path for weight in network("convnext_tiny").model.weights] for _ in range(2)]
    assert paths[0] == paths[1]
    assert {"layer_normalization_0/gamma", "convnext_tiny_stage_0_block_1_layer_scale/gamma"} <= set(paths[0])


def test_application_for_grey_pictures_sees_them_in_three_colours() -> None:
    grey, coloured = (network("mobilenet_v3_small", (32, 32, n), moments=([9.0] * n, [7.0] * n)).model for n in (1, 3))
    batch = features(2, 32, 32, 1)
    expected = np.asarray(shake(coloured)(np.repeat(batch, 3, axis=-1)))
    assert np.abs(expected[0] - expected[1]).max() > 1e-4
    shake(grey)
    np.testing.assert_array_equal(np.asarray(grey(batch)), expected)


def test_application_for_spectra_takes_them_as_grey_pictures() -> None:
    spectra = features(2, 63, 40, 1)
    made = network("mobilenet_v3_small", (63, 40, 1), sound=True, moments=([1.0] * 40, [2.0] * 40)).model
    assert made(spectra).shape == (2, 8)
    pixels = made.get_layer("pixels")
    assert pixels.mean == pytest.approx([123.675, 116.28, 103.53])


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.parametrize("shape", [(31, 64, 3), (64, 16, 1)])
def test_application_of_too_small_pictures_names_the_least_size(name: str, shape: tuple[int, ...]) -> None:
    message = f"found {name} for features of {shape[0]} x {shape[1]}; it takes 32 x 32 or more"
    with pytest.raises(UsageError, match=re.escape(message)):
        network(name, shape)


def test_application_of_two_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="found resnet50 for 2 channels; it takes 1 or 3"):
        network("resnet50", (32, 32, 2))


def test_every_application_takes_least_pictures_of_its_own_constructor() -> None:
    for name in LIGHT:
        construct = getattr(keras.applications, APPLICATIONS[name].constructor)
        least = APPLICATIONS[name].least_side
        with pytest.raises(ValueError, match=f"at least {least}x{least}"):
            construct(include_top=False, weights=None, input_shape=(least - 1, least, 3))
