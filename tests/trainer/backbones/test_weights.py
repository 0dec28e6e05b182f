"""Pretrained weights from local files: taken over whole, or refused with what was found and what is expected."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from sim_transforms.errors import UsageError
from tests.thorough import THOROUGH
from tests.trainer.backbones.networks import network, shake
from trainer.backbones.weights import fetch_weights, load_weights

pytestmark = pytest.mark.slow

NAME = "mobilenet_v3_small"
MOMENTS = ((90.0, 110.0, 120.0), (50.0, 60.0, 70.0))
KINDS = [
    "alone.keras",
    "alone.weights.h5",
    "whole.weights.h5",
    "nested.keras",
    "ours.keras",
    *(["whole.keras", "nested.weights.h5"] if THOROUGH else []),
]


@pytest.mark.parametrize("kind", KINDS)
def test_load_weights_gives_the_networks_own_places_for_the_same_picture(
    kind: str, application_files: dict[str, Path]
) -> None:
    made = network(NAME, weights=str(application_files[kind]), moments=MOMENTS).model
    picture = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    picture[1] *= [0.1, 0.9, 0.3]
    mean, deviation = (np.array(values, np.float32) for values in MOMENTS)
    places = keras.Model(made.input, made.get_layer("gem").input)((picture - mean) / deviation)
    expected = np.asarray(keras.saving.load_model(application_files["alone.keras"])(picture))
    assert np.abs(expected[0] - expected[1]).max() > 0.03  # the pictures are told apart
    np.testing.assert_allclose(np.asarray(places), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["whole.weights.h5", "ours.keras"])
def test_load_weights_leaves_the_head_as_the_seed_made_it(kind: str, application_files: dict[str, Path]) -> None:
    random, loaded = network(NAME), network(NAME, weights=str(application_files[kind]))
    for mine, its in zip(random.stages[0], loaded.stages[0], strict=True):
        for left, right in zip(mine.get_weights(), its.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)


def test_load_weights_of_a_small_network_continues_an_earlier_training(tmp_path) -> None:
    earlier = shake(network("sound", (32, 16, 1), sound=True).model)
    earlier.save(tmp_path / "model.keras")
    made = network("sound", (32, 16, 1), sound=True, weights=str(tmp_path / "model.keras")).model
    for layer in earlier.layers[:-1]:
        for left, right in zip(layer.get_weights(), made.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "constructor"), [("convnext_tiny", "ConvNeXtTiny"), ("efficientnet_v2_b0", "EfficientNetV2B0")]
)
def test_load_weights_of_another_family_takes_every_weight_in_order(name: str, constructor: str, tmp_path) -> None:
    construct = getattr(keras.applications, constructor)
    whole = shake(construct(weights=None, input_shape=(32, 32, 3), classes=4))
    whole.save_weights(tmp_path / "whole.weights.h5")
    made = network(name, weights=str(tmp_path / "whole.weights.h5"), pooling="average").model
    taken = [value for layer in made.layers if layer.name != "embedding" for value in layer.get_weights()]
    given = whole.get_weights()[:-2]  # without the classifier
    assert len(taken) == len(given) > 100
    for left, right in zip(taken, given, strict=True):
        np.testing.assert_array_equal(left, right)


def _changed(change: Callable[[Any], None]) -> Callable[[Path, Path], None]:
    def apply(source: Path, target: Path) -> None:
        shutil.copyfile(source, target)
        with h5py.File(target, "r+") as file:
            change(file)

    return apply


def _without_one(file: Any) -> None:
    del file["layers/conv2d_7/vars/0"]


def _of_whole_numbers(file: Any) -> None:
    values = file["layers/conv2d_7/vars/0"][...]
    del file["layers/conv2d_7/vars/0"]
    file["layers/conv2d_7/vars/0"] = values.astype(np.int32)


def _of_half_the_width(source: Path, target: Path) -> None:
    shape = (32, 32, 3)
    keras.applications.MobileNetV3Small(alpha=0.75, include_top=False, weights=None, input_shape=shape).save_weights(
        target
    )


def _of_another_family(source: Path, target: Path) -> None:
    network("convolutional", (32, 32, 3)).model.save_weights(target)


def _no_weights(source: Path, target: Path) -> None:
    target.write_text("<html>not found</html>")


def _cut(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _changed(_without_one),
            r"lacks 1 of \d+ weights, the first of them of layer expanded_conv_\w+ \(layers/conv2d_7",
        ),
        (_changed(_of_whole_numbers), r"holds int32 \(layers/conv2d_7/vars/0\); floating point"),
        (_of_half_the_width, r"of another network: \d+ of \d+ weights have other shapes, the first of them \("),
        (_of_another_family, r"of another network: it lacks \d+ of \d+ weights"),
        (_no_weights, r"holds no weights of Keras 3 \(.+\); write it anew with model\.save"),
        (_cut, r"holds no weights of Keras 3"),
    ],
    ids=["a weight missing", "whole numbers", "half the width", "another family", "no weights", "cut off"],
)
def test_load_weights_of_another_file_is_refused_and_changes_nothing(
    spoil: Callable[[Path, Path], None], message: str, application_files: dict[str, Path], tmp_path
) -> None:
    path = tmp_path / "some.weights.h5"
    spoil(application_files["alone.weights.h5"], path)
    made = network(NAME).model
    before = made.get_weights()
    with pytest.raises(UsageError, match=message) as refused:
        load_weights(made, path, "gs://b/some.weights.h5", r"expanded_conv_(?P<block>\d+)_")
    assert str(refused.value).startswith("train.backbone.weights: gs://b/some.weights.h5 ")
    for left, right in zip(before, made.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_load_weights_of_a_keras_file_that_is_no_archive_is_refused(tmp_path) -> None:
    (tmp_path / "model.keras").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UsageError, match=r"holds no weights of Keras 3 \(File is not a zip file\)"):
        network("convolutional", (16, 16, 1), weights=str(tmp_path / "model.keras"))


def test_load_weights_of_a_deeper_network_is_refused(tmp_path) -> None:
    inputs = keras.Input((16, 16, 1))
    hidden = inputs
    for block, filters in enumerate((32, 64, 128, 128)):
        hidden = keras.layers.Conv2D(filters, 3, use_bias=False, padding="same", name=f"conv{block}")(hidden)
        hidden = keras.layers.BatchNormalization(name=f"norm{block}")(hidden)
    keras.Model(inputs, hidden).save_weights(tmp_path / "four.weights.h5")
    with pytest.raises(UsageError, match=r"of a deeper network: .* conv3 among them"):
        network("convolutional", (16, 16, 1), weights=str(tmp_path / "four.weights.h5"))


@pytest.mark.parametrize("address", ["{folder}/none.keras", "file://{folder}/none.keras", "{folder}/folder.keras"])
def test_fetch_weights_that_are_not_there_names_the_path(address: str, tmp_path) -> None:
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(UsageError, match=rf"train\.backbone\.weights: there is no file {tmp_path}/\w+\.keras"):
        fetch_weights(address.format(folder=tmp_path))


def test_fetch_weights_of_another_ending_names_those_that_are_read(tmp_path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(UsageError, match=r"ends with \.keras or \.weights\.h5 is expected"):
        fetch_weights(str(tmp_path / "model.pt"))


def test_fetch_weights_of_a_local_file_is_that_file(tmp_path) -> None:
    path = tmp_path / "a.weights.h5"
    path.write_bytes(b"")
    assert fetch_weights(str(path)) == path
    assert fetch_weights(f"file://{path}") == path


def _small(tmp_path: Path) -> tuple[Any, Path]:
    """A small network of ours, and its weights in a file."""
    model, path = network("sound", (32, 16, 1), sound=True).model, tmp_path / "some.weights.h5"
    model.save_weights(path)
    return model, path


@pytest.mark.parametrize("seed", range(6))
def test_load_weights_of_a_damaged_file_is_refused_or_gives_numbers(tmp_path: Path, seed: int) -> None:
    model, path = _small(tmp_path)
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(seed).integers(0, min(len(data), 20_000), 60):
        data[place] ^= 0xFF
    path.write_bytes(data)
    before = model.get_weights()
    try:
        load_weights(model, path, str(path), "block")
    except UsageError:
        for one, other in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_load_weights_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    model, path = _small(tmp_path)
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/0"][0, 0] = np.nan
    with pytest.raises(UsageError, match="not finite"):
        load_weights(model, path, str(path), "block")
