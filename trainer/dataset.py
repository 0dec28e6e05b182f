"""Examples -> features, through the same TensorFlow Transform graph that serves queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from sim_transforms.errors import DamagedArtefact, one_line
from sim_transforms.features.example_format import FEATURE_SPEC
from sim_transforms.features.preprocessing import FEATURES, MEDIA


class FeatureReader:
    """Serialised examples -> features, with the transform graph of an examples folder."""

    def __init__(self, examples: Path) -> None:
        """Loads the graph; raises DamagedArtefact where it cannot."""
        path = examples / "transform"
        try:
            self._layer = tft.TFTransformOutput(str(path)).transform_features_layer()
        except (OSError, ValueError, KeyError, IndexError, tf.errors.OpError) as error:
            raise DamagedArtefact(
                f"{path} cannot be loaded ({one_line(error)}); run `ruiji preprocess` again"
            ) from error

    def features(self, serialized: Sequence[bytes]) -> Any:
        """[b] serialised examples -> [b, *feature_shape] float32."""
        return self._transform(tf.constant(list(serialized)))

    def features_of_media(self, media: Sequence[bytes]) -> Any:
        """[b] row-major bytes of decoded media -> [b, *feature_shape] float32."""
        return self._apply(tf.constant(list(media)))

    @tf.function(reduce_retracing=True)
    def _transform(self, serialized: Any) -> Any:
        return self._apply(tf.io.parse_example(serialized, {MEDIA: FEATURE_SPEC[MEDIA]})[MEDIA])

    @tf.function(reduce_retracing=True)
    def _apply(self, media: Any) -> Any:
        return self._layer({MEDIA: media})[FEATURES]
