"""From our features back to the pixels, and from them to what a pretrained network was trained on."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

# As the weights of keras.applications were trained: colours are red, green, blue, pixels are 0 to 255.
#   shares   (x / 255 - mean) / deviation, of ImageNet        EfficientNetV2 B0-B3, ConvNeXt
#   halves   x / 127.5 - 1                                    MobileNet V2 and V3, ResNet V2
#   eighths  x / 128 - 1                                      EfficientNetV2 S, M, L
#   caffe    x - mean of ImageNet, blue before green and red  ResNet
Scaling = Literal["shares", "halves", "eighths", "caffe"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)


@keras.saving.register_keras_serializable(package="ruiji")
class PixelsOfFeatures(keras.layers.Layer):
    """Features of mean 0 and variance 1 -> pixels -> what a family of pretrained networks takes.

    Exact where the moments of the features are known: `x * deviation + mean` are the decoded pixels, 0 to 255, which
    then go through the arithmetic of the family's own `preprocess_input`. Where they are not (spectra, whose bands are
    standardised one by one), those of ImageNet stand for them, so that the features take the range that the network
    knows. Grey is repeated to three colours. In float32 whatever the policy: bfloat16 rounds pixels above 128 to whole
    ones. Has no weights.

    Args:
        scaling: of the family.
        mean, deviation: a channel, 0 to 255, one or three; null for those of ImageNet.
    """

    def __init__(
        self,
        scaling: Scaling,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.scaling = scaling
        self.mean = _three([255 * share for share in IMAGENET_MEAN] if mean is None else mean)
        self.deviation = _three([255 * share for share in IMAGENET_DEVIATION] if deviation is None else deviation)

    def call(self, inputs: Any) -> Any:
        """[b, h, w, 1 or 3] -> [b, h, w, 3] float32."""
        pixels = inputs * _row(self.deviation) + _row(self.mean)
        if self.scaling == "shares":
            return (pixels / 255.0 - _row(IMAGENET_MEAN)) / _row(IMAGENET_DEVIATION)
        if self.scaling == "halves":
            return pixels / 127.5 - 1.0
        if self.scaling == "eighths":
            return pixels / 128.0 - 1.0
        return ops.flip(pixels, axis=-1) - _row(_CAFFE_MEAN)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Three channels."""
        return (*input_shape[:-1], 3)

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        own = {"scaling": self.scaling, "mean": self.mean, "deviation": self.deviation}
        return {**super().get_config(), **own}


def _three(values: Sequence[float]) -> list[float]:
    return [float(value) for value in (values if len(values) == 3 else [*values] * 3)]


def _row(values: Sequence[float]) -> Any:
    return ops.convert_to_tensor(list(values), "float32")
