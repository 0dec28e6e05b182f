"""From the settings to a network, with its pretrained weights and its stages."""

from collections.abc import Callable
from pathlib import Path

import keras

from sim_transforms.errors import UsageError
from sim_transforms.settings.training import TrainSettings
from trainer.backbones.applications import APPLICATIONS, Moments, application_model
from trainer.backbones.convolutional import convolutional_model
from trainer.backbones.pooling import Pooling
from trainer.backbones.sound import sound_model
from trainer.backbones.stages import Network, stages_of
from trainer.backbones.weights import load_weights
from trainer.model import MetricEmbedding

_SMALL = r"(?:conv|norm|relu|pool)(?P<block>\d)$"


def make_network(
    settings: TrainSettings,
    feature_shape: tuple[int, ...],
    sound: bool,
    fetch: Callable[[str], Path],
    moments: Moments | None = None,
) -> Network:
    """Makes the network that `train.backbone` names, in the state of epoch 0.

    The caller seeds Keras (`keras.utils.set_random_seed`); the same seed gives the same weights.

    Args:
        settings: of the training.
        feature_shape: (height, width, channels), or (frames, mel bands, 1).
        sound: whether the features are spectra.
        fetch: from the address of weights to a local file (`fetch_weights`).
        moments: mean and deviation that were taken off the features of pictures, a channel, 0 to 255: with them a
            network of `keras.applications` sees the very pixels it would see elsewhere. Not used for spectra.

    Raises:
        UsageError: a backbone that does not take such features, weights of another network, or settings that freeze
            random weights.
    """
    backbone = settings.backbone
    name = backbone.name if backbone.name != "auto" else "sound" if sound else "convolutional"
    if name == "sound" and not sound:
        raise UsageError("train.backbone.name: found sound for pictures; it is of spectra: choose another, or auto")
    if backbone.weights is None and backbone.unfrozen_blocks is not None:
        raise UsageError(
            f"train.backbone.unfrozen_blocks: found {backbone.unfrozen_blocks} without train.backbone.weights: blocks "
            "of random weights would never be trained"
        )
    model = _model(name, feature_shape, settings, None if sound else moments)
    block = APPLICATIONS[name].block if name in APPLICATIONS else _SMALL
    stages = stages_of(model, block)
    if backbone.weights is None:
        return Network(model, stages)
    load_weights(model, fetch(backbone.weights), backbone.weights, block)
    network = Network(model, stages, backbone.frozen_epochs, backbone.unfrozen_blocks, backbone.unfreeze_every)
    network.set_epoch(0)
    return network


def _model(name: str, shape: tuple[int, ...], settings: TrainSettings, moments: Moments | None) -> keras.Model:
    chosen = settings.backbone.pooling
    head = MetricEmbedding(settings.embedding_size, settings.own_view_size, settings.metric_share)
    if name in APPLICATIONS:
        return application_model(name, shape, head, "gem" if chosen == "auto" else chosen, moments)
    pooling: Pooling = "flatten" if chosen == "auto" else chosen
    return sound_model(shape, head, pooling) if name == "sound" else convolutional_model(shape, head, pooling)
