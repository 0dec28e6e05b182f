"""The networks of `keras.applications`: which there are, what they take, and where their blocks are."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from sim_transforms.errors import UsageError
from trainer.backbones.pixels import PixelsOfFeatures, Scaling
from trainer.backbones.pooling import Pooling, pooled
from trainer.backbones.remake import with_stable_names
from trainer.model import MetricEmbedding

Moments = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Application:
    """One network.

    Attributes:
        constructor: in keras.applications.
        scaling: what its weights were trained on.
        block: expression of the names of the layers of a block; its group `block` is the block's number, `before` that
            of the block that it leads out of. What comes before the first block is the stem, what is called otherwise
            belongs to the block before it.
        prepares: whether the constructor would put layers for the scaling into the network; ours does that.
        least_side: pixels; from fewer, nothing would be left after five halvings.
    """

    constructor: str
    scaling: Scaling
    block: str
    prepares: bool = True
    least_side: int = 32


_EFFICIENT = r"block(?P<block>\d)[a-z]_"
_CONVNEXT = r"convnext_[a-z]+_(?:stage_(?P<block>\d)_|downsampling_block_(?P<before>\d))"
_RESNET = r"conv(?P<block>\d)_"
APPLICATIONS = {
    **{f"efficientnet_v2_b{n}": Application(f"EfficientNetV2B{n}", "shares", _EFFICIENT) for n in range(4)},
    **{f"efficientnet_v2_{s}": Application(f"EfficientNetV2{s.upper()}", "eighths", _EFFICIENT) for s in "sml"},
    **{
        f"convnext_{size}": Application(f"ConvNeXt{size.title()}", "shares", _CONVNEXT)
        for size in ("tiny", "small", "base", "large")
    },
    "resnet50": Application("ResNet50", "caffe", _RESNET, prepares=False),
    "resnet50_v2": Application("ResNet50V2", "halves", _RESNET, prepares=False),
    "mobilenet_v2": Application("MobileNetV2", "halves", r"block_(?P<block>\d+)_", prepares=False),
    "mobilenet_v3_small": Application("MobileNetV3Small", "halves", r"expanded_conv_(?P<block>\d+)_"),
    "mobilenet_v3_large": Application("MobileNetV3Large", "halves", r"expanded_conv_(?P<block>\d+)_"),
}


def application_model(
    name: str, shape: tuple[int, ...], head: MetricEmbedding, pooling: Pooling, moments: Moments | None
) -> keras.Model:
    """A network of `keras.applications` with seeded random weights, without its top, pooled, then our head.

    Args:
        name: in APPLICATIONS.
        shape: (height, width, channels) of the features.
        head: the embedding.
        pooling: from places to one vector.
        moments: mean and deviation that were taken off the features, a channel, 0 to 255; null for ImageNet's.

    Returns:
        A model [b, *shape] float32 -> [b, size of the head] float32, unit length; all layers directly in it, under
        names that are the same in every run.

    Raises:
        UsageError: pictures that are too small, or have neither one nor three channels.
    """
    application = APPLICATIONS[name]
    _check_shape(name, application, shape)
    mean, deviation = moments or (None, None)
    inputs = keras.Input(shape, name="features")
    pixels = PixelsOfFeatures(application.scaling, mean, deviation, name="pixels")(inputs)
    options = {"include_preprocessing": False} if application.prepares else {}
    construct = getattr(keras.applications, application.constructor)
    places = construct(include_top=False, weights=None, input_tensor=pixels, **options).output
    vectors = head(pooled(places, pooling))
    return with_stable_names(keras.Model(inputs, vectors, name="ruiji"))


def _check_shape(name: str, application: Application, shape: tuple[int, ...]) -> None:
    height, width, channels = shape
    least = application.least_side
    if min(height, width) < least:
        raise UsageError(
            f"train.backbone.name: found {name} for features of {height} x {width}; it takes {least} x {least} or more"
            ": make them larger (media.height and media.width for pictures), or choose auto"
        )
    if channels not in (1, 3):
        raise UsageError(f"train.backbone.name: found {name} for {channels} channels; it takes 1 or 3")
