"""From features back to pixels and on: equal to what `keras.applications` does with the picture."""

import keras
import numpy as np
import pytest

from tests.thorough import THOROUGH
from trainer.backbones.applications import APPLICATIONS
from trainer.backbones.pixels import PixelsOfFeatures

MEAN, DEVIATION = np.array([97.3, 120.1, 33.7]), np.array([51.2, 60.4, 12.9])
MODULES = {"resnet50": "resnet", "resnet50_v2": "resnet_v2", "mobilenet_v2": "mobilenet_v2"}


def _picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)


def _expected(name: str, picture: np.ndarray) -> np.ndarray:
    """By the module's own `preprocess_input`, or where that does nothing, the constructor's own layers."""
    if name in MODULES:
        return getattr(keras.applications, MODULES[name]).preprocess_input(picture.copy())
    construct = getattr(keras.applications, APPLICATIONS[name].constructor)
    values = picture
    for layer in construct(include_top=False, weights=None, input_shape=(32, 32, 3)).layers[1:]:
        if not isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            return np.asarray(values)
        values = layer(values)
    raise AssertionError(f"{name} has no layers after its preprocessing")


LIGHT = {"resnet50", "resnet50_v2", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_v2_b0"}


@pytest.mark.parametrize("name", [name for name in APPLICATIONS if name in LIGHT or THOROUGH])
def test_pixels_of_features_equal_the_familys_own_preprocessing(name: str) -> None:
    picture = _picture()
    features = ((picture - MEAN) / DEVIATION).astype(np.float32)
    found = np.asarray(PixelsOfFeatures(APPLICATIONS[name].scaling, MEAN, DEVIATION)(features))
    expected = _expected(name, picture)
    assert np.abs(expected - picture).max() > 1.0
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("scaling", ["shares", "halves", "eighths", "caffe"])
def test_pixels_of_grey_features_are_those_of_the_picture_in_three_colours(scaling: str) -> None:
    grey = _picture()[..., :1]
    features = ((grey - 80.0) / 40.0).astype(np.float32)
    one = np.asarray(PixelsOfFeatures(scaling, [80.0], [40.0])(features))
    three = np.asarray(PixelsOfFeatures(scaling, [80.0] * 3, [40.0] * 3)(np.repeat(features, 3, axis=-1)))
    np.testing.assert_array_equal(one, three)
    assert one.shape == (2, 32, 32, 3)


def test_pixels_without_moments_give_standardised_features_to_a_standardised_network() -> None:
    features = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(PixelsOfFeatures("shares")(features)), features, atol=1e-5)


def test_pixels_under_a_mixed_policy_stay_float32() -> None:
    layer = PixelsOfFeatures("halves", dtype=keras.dtype_policies.DTypePolicy("mixed_bfloat16"))
    found = layer(keras.ops.ones((1, 4, 4, 1)))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


def test_pixels_layer_from_its_configuration_is_the_same() -> None:
    layer = PixelsOfFeatures("caffe", MEAN, DEVIATION)
    again = PixelsOfFeatures.from_config(layer.get_config())
    np.testing.assert_array_equal(np.asarray(layer(_picture())), np.asarray(again(_picture())))
