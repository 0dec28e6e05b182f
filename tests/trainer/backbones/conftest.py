"""Files of pretrained weights as users have them, made here: nothing is downloaded."""

from pathlib import Path

import keras
import pytest

from tests.trainer.backbones.networks import network, shake


@pytest.fixture(scope="session")
def application_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same MobileNetV3Small: alone, with its classifier, inside a user's model, and in one of ours."""
    folder = tmp_path_factory.mktemp("pretrained")
    construct = keras.applications.MobileNetV3Small
    alone = shake(construct(include_top=False, weights=None, input_shape=(32, 32, 3)))
    whole = shake(construct(weights=None, input_shape=(32, 32, 3), classes=5))
    for mine, its in zip(alone.layers, whole.layers, strict=False):  # its further layers are the classifier
        its.set_weights(mine.get_weights())
    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(alone(keras.layers.Rescaling(1.0)(inputs)))
    nested = keras.Model(inputs, keras.layers.Dense(3)(pooled))
    models = {"alone": alone, "whole": whole, "nested": nested}
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
    ours = network("mobilenet_v3_small", weights=str(folder / "alone.keras")).model
    ours.save(folder / "ours.keras")
    return {path.name: path for path in folder.iterdir()}
