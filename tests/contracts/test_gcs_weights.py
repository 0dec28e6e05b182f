"""Pretrained weights in a bucket: brought here once a generation, loaded into the network, refused where missing."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest

from sim_transforms.errors import UsageError
from sim_transforms.settings.training import BackboneSettings, TrainSettings
from sim_transforms.storage.gcs import GcsStore
from tests.contracts.gcs_server import Gate
from trainer.backbones.convolutional import convolutional_model
from trainer.backbones.make import make_network
from trainer.backbones.weights import fetch_weights
from trainer.model import MetricEmbedding

pytestmark = pytest.mark.slow


def _downloads(gate: Gate) -> int:
    return sum("/download/" in path for method, path in gate.seen if method == "GET")


def test_fetch_weights_of_a_bucket_downloads_each_generation_once(gcs: GcsStore, gate: Gate, tmp_path: Path) -> None:
    uri = f"{gcs.url}/models/some.weights.h5"
    gcs.write("models/some.weights.h5", b"first")
    paths = [fetch_weights(uri), fetch_weights(uri)]
    assert paths[0] == paths[1]
    assert paths[0].is_relative_to(tmp_path / "cache")
    assert _downloads(gate) == 1
    gcs.write("models/some.weights.h5", b"other")
    later = fetch_weights(uri)
    assert (paths[0].read_bytes(), later.read_bytes()) == (b"first", b"other")
    assert _downloads(gate) == 2


def test_fetch_weights_that_no_bucket_holds_names_the_address(gcs: GcsStore) -> None:
    with pytest.raises(UsageError, match=rf"train\.backbone\.weights: there is no {gcs.url}/none\.keras"):
        fetch_weights(f"{gcs.url}/none.keras")


def test_make_network_with_weights_of_a_bucket_is_that_of_the_file(gcs: GcsStore, tmp_path: Path) -> None:
    earlier = convolutional_model((16, 16, 1), MetricEmbedding(8))
    earlier.save(tmp_path / "model.keras")
    gcs.upload(tmp_path / "model.keras", "model.keras")
    os.unlink(tmp_path / "model.keras")
    settings = TrainSettings(backbone=BackboneSettings(weights=f"{gcs.url}/model.keras"))
    keras.utils.set_random_seed(3)
    made = make_network(settings, (16, 16, 1), False, fetch_weights).model
    for name in ("conv0", "norm1", "conv2"):
        for left, right in zip(earlier.get_layer(name).get_weights(), made.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
