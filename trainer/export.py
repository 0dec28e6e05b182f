"""A fitted network -> `model/`: Keras file, SavedModel from media bytes to vectors, manifest."""

import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from sim_transforms.features.preprocessing import FEATURES, MEDIA
from sim_transforms.records.manifests import ExamplesManifest


class _Served(tf.Module):
    """The transform graph and the network as one function of media bytes."""

    def __init__(self, examples: Path, network: keras.Model) -> None:
        super().__init__()
        self.transform = tft.TFTransformOutput(str(examples / "transform")).transform_features_layer()
        self.network = network

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=MEDIA)])
    def embed(self, media: Any) -> dict[str, Any]:
        """[b] row-major bytes of decoded media -> [b, dim] float32 unit vectors."""
        return {"embedding": self.network(self._features(media), training=False)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=MEDIA)])
    def features(self, media: Any) -> dict[str, Any]:
        """[b] row-major bytes of decoded media -> what the network takes."""
        return {FEATURES: self._features(media)}

    def _features(self, media: Any) -> Any:
        return self.transform({MEDIA: media})[FEATURES]


def export_model(network: keras.Model, examples: Path, output: Path) -> None:
    """Writes `model.keras` and `saved_model/` with the signatures `serving_default` and `serving_features`."""
    network.save(output / "model.keras")
    served = _Served(examples, network)
    tf.saved_model.save(
        served,
        str(output / "saved_model"),
        signatures={"serving_default": served.embed, "serving_features": served.features},
    )


def fingerprint(network: keras.Model, examples: Path, manifest: ExamplesManifest) -> str:
    """Hex SHA-256 over weights, the transform graph's constants and the decoder's version.

    The constants are read off by running the graph on every byte value, and the vocabulary; the bytes of the files
    change with each save and are left out.
    """
    digest = hashlib.sha256(manifest.decoder.encode())
    digest.update(json.dumps([manifest.media.dtype, list(manifest.media.shape)]).encode())
    for variable in network.weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.path} {value.dtype} {value.shape}\0".encode())
        digest.update(value.tobytes())
    output = tft.TFTransformOutput(str(examples / "transform"))
    digest.update(_probe(output, manifest).tobytes())
    digest.update(b"\0".join(output.vocabulary_by_name("labels")))
    return digest.hexdigest()


def _probe(output: Any, manifest: ExamplesManifest) -> Any:
    """The graph's answers to pictures whose bytes are all 0, all 1, ... all 255, or to clips of seeded noise."""
    size = manifest.media.item_bytes
    if manifest.media.sound is None:
        media = tf.constant([bytes([value]) * size for value in range(256)])
    else:
        media = tf.constant([np.random.default_rng(seed).bytes(size) for seed in range(4)])
    return output.transform_features_layer()({MEDIA: media})[FEATURES].numpy()
