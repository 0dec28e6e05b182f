"""Views of pictures: what may change in a picture while it goes on showing the same."""

from typing import Any

import tensorflow as tf

from sim_transforms.settings.training import AugmentSettings
from trainer.self_supervised.affine import affine
from trainer.self_supervised.blur import blur
from trainer.self_supervised.colour import jitter
from trainer.self_supervised.crops import crop, flip
from trainer.self_supervised.view_seeds import view_seeds

_SMALLEST = 0.1


def picture_views(features: Any, seed: Any, settings: AugmentSettings, count: int, local: int) -> list[Any]:
    """Views of a batch, the small crops last.

    Args:
        features: [b, h, w, c] float32.
        seed: [2] int32; the same seed gives the same views.
        settings: strengths; 0 leaves a change out.
        count: whole views.
        local: small crops.

    Returns:
        `count + local` tensors as `features` is.
    """
    seeds = view_seeds(seed, count + local)
    whole = [_changed(features, its_own, settings, settings.crop, 1.0) for its_own in seeds[:count]]
    small = min(_SMALLEST, settings.local_scale)
    return whole + [_changed(features, its_own, settings, small, settings.local_scale) for its_own in seeds[count:]]


def _changed(features: Any, seed: Any, settings: AugmentSettings, least: float, most: float) -> Any:
    seeds = [tf.random.experimental.stateless_fold_in(seed, number) for number in range(4)]
    if settings.shift or settings.turn or settings.zoom:
        features = affine(features, seed, settings)
    if least < 1.0:
        features = crop(features, seeds[0], least, most)
    if settings.flip:
        features = flip(features, seeds[1])
    if settings.brightness or settings.contrast or settings.saturation or settings.hue:
        features = jitter(features, seeds[2], settings)
    return blur(features, seeds[3], settings.blur) if settings.blur else features
