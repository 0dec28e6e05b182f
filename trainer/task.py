"""examples/ -> model/: the training job.

Deterministic on one machine: the same examples, settings and seed give the same weights bit for bit, killed and resumed
or not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sim_transforms.errors import UsageError
from sim_transforms.quality.open_set import open_set
from sim_transforms.records.codec import to_plain
from sim_transforms.records.manifests import Calibration, ModelManifest
from sim_transforms.settings.stages import Settings
from sim_transforms.settings.training import AugmentSettings, TrainSettings
from sim_transforms.storage.files import write_file
from trainer.backbones.make import make_network
from trainer.backbones.remake import in_float32
from trainer.backbones.stages import Network
from trainer.calibration import calibrate
from trainer.checkpoints import Checkpoints
from trainer.devices import Devices, choose_devices
from trainer.export import export_model, fingerprint
from trainer.fit import Fitted, Watchers, fit, steps_per_epoch
from trainer.gate import judge_model, load_in_use
from trainer.learner import Learner, MakeViews, Terms
from trainer.losses.make import make_loss
from trainer.metrics import chosen_metric
from trainer.self_supervised.make import make_objective
from trainer.self_supervised.objective import ViewObjective
from trainer.self_supervised.picture_views import picture_views
from trainer.self_supervised.sound_masks import mask_spectra
from trainer.self_supervised.view_seeds import view_seeds
from trainer.training_data import TrainingData
from trainer.turned_classes import TURNS, check_square, turn_classes

Array = np.ndarray[Any, Any]
Embed = Callable[[Any], Any]


def train(
    examples: Path,
    output: Path,
    settings: Settings,
    watchers: Watchers,
    fetch: Callable[[str], Path],
    in_use: Path | None = None,
) -> ModelManifest:
    """Fits a model and writes it into the empty folder `output`, the manifest last.

    Args:
        examples: folder to learn from.
        output: empty folder.
        settings: of the catalog.
        watchers: who is told; a training that was killed goes on from what lies in their folder.
        fetch: brings weights of a URL or path to this machine.
        in_use: model that the new one must not be worse than; null for none.

    Raises:
        UsageError: labels or items that cannot be trained on, or weights that do not fit.
        NotAccepted: the new model is worse than the one in use.
        Collapsed: the embeddings tell nothing apart any more.
    """
    data = TrainingData(examples, settings.train)
    try:
        _warn_of_single_classes(data, settings.train, watchers.notify)
        # Before hours of training, where it cannot be.
        before = load_in_use(in_use, data) if in_use is not None else None
        model, fitted = fitted_model(data, settings.train, watchers, fetch)
        embed = partial(model, training=False)
        vectors = data.embed(embed, data.validation)
        judge_model(before, data, vectors, settings.train, watchers.notify)
        export_model(model, examples, output)
        calibration = _calibration(embed, data, vectors, settings, watchers.notify)
        made = _describe(model, data, settings, (fitted, calibration), examples)
    finally:
        data.close()
    write_file(output / "manifest.json", made.text().encode())
    Checkpoints(watchers.folder).clear()
    return made


def score(examples: Path, settings: Settings, watchers: Watchers, fetch: Callable[[str], Path]) -> float:
    """The metric `train.select_by` of the best epoch of a training whose model is not kept; errors as of `train`."""
    data = TrainingData(examples, settings.train)
    try:
        _, fitted = fitted_model(data, settings.train, watchers, fetch)
    finally:
        data.close()
    Checkpoints(watchers.folder).clear()
    return chosen_metric(fitted.metrics, settings.train)


def fitted_model(
    data: TrainingData, settings: TrainSettings, watchers: Watchers, fetch: Callable[[str], Path]
) -> tuple[keras.Model, Fitted]:
    """The model of the best epoch, float32 throughout, and how it was found; errors as of `train`."""
    with _deterministic(settings):
        learner = make_learner(data, settings, fetch)
        fitted = fit(learner, data, settings, watchers)
        learner.model.set_weights(fitted.weights)
    return in_float32(learner.model), fitted


def untrained_model(data: TrainingData, settings: TrainSettings, fetch: Callable[[str], Path]) -> keras.Model:
    """The model that a training begins with: what trained ones are held against."""
    with _deterministic(settings):
        return in_float32(make_learner(data, settings, fetch).model)


def make_learner(
    data: TrainingData, settings: TrainSettings, fetch: Callable[[str], Path], devices: Devices | None = None
) -> Learner:
    """Network, terms of the loss and views, as the settings have them; weights begin from the seed."""
    devices = devices or choose_devices(settings.devices, data.whole_batch)
    with devices.scope():
        shape = data.manifest.media.feature_shape
        network = make_network(settings, shape, data.is_sound, fetch, data.moments)
        terms = _terms(network, len(data.classes), settings)
    steps = steps_per_epoch(data, settings) * settings.epochs
    if settings.accumulate > steps:
        raise UsageError(
            f"train.accumulate: found {settings.accumulate}, more than the {steps} steps of the training, so that "
            "nothing would be learned: lower it, or train longer"
        )
    return Learner(network, terms, _views(data, settings, terms.objective), settings, steps, devices)


@contextmanager
def _deterministic(settings: TrainSettings) -> Iterator[None]:
    """Seeds and deterministic ops, and the precision of the settings until the end of the block."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    if settings.precision == "mixed":
        keras.config.set_dtype_policy("mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _terms(network: Network, classes: int, settings: TrainSettings) -> Terms:
    metric = objective = None
    if settings.loss != "none":
        metric = make_loss(
            settings.loss,
            {part: getattr(settings, part) for part in ("distance", "miner", "reducer")},
            settings.loss_options,
            settings.memory,
            settings.embedding_size - settings.own_view_size,
            classes * (TURNS if settings.augment.turned_classes else 1),
            settings.seed,
        )
    if settings.self_supervised != "none":
        objective, head = make_objective(settings), network.model.get_layer("embedding")
        objective.build_for(network.model, settings.own_view_size or head.size, head.view_part, settings.seed)
    return Terms(metric, objective)


def _views(data: TrainingData, settings: TrainSettings, objective: ViewObjective | None) -> MakeViews:
    """Two views of an item and what else an objective asks for, or one where there is none; always two of sounds."""
    if data.is_sound:
        return partial(_sound_views, augment=settings.augment)
    count, local = (objective.views, objective.local_views) if objective is not None else (1, 0)
    classes = len(data.classes) if settings.loss != "none" else 0
    if settings.augment.turned_classes and classes:
        check_square(data.manifest.media.feature_shape)
    return partial(_picture_views, augment=settings.augment, several=(count, local), classes_in_all=classes)


def _picture_views(
    features: Any, classes: Any, seed: Any, *, augment: AugmentSettings, several: tuple[int, int], classes_in_all: int
) -> tuple[list[Any], Any]:
    if augment.turned_classes and classes_in_all:
        features, classes = turn_classes(features, classes, seed, augment.turned_classes, classes_in_all)
    return picture_views(features, seed, augment, *several), classes


def _sound_views(features: Any, classes: Any, seed: Any, *, augment: AugmentSettings) -> tuple[list[Any], Any]:
    """The two halves of [2 b, ...] features, windows of samples already, with parts of their spectra hidden."""
    halves = zip(tf.split(features, 2), view_seeds(seed, 2), strict=True)
    return [mask_spectra(half, its_own, augment) for half, its_own in halves], classes


def _describe(
    model: keras.Model,
    data: TrainingData,
    settings: Settings,
    found: tuple[Fitted, Calibration | None],
    examples: Path,
) -> ModelManifest:
    chosen, (fitted, calibration) = settings.train, found
    return ModelManifest(
        fingerprint=fingerprint(model, examples, data.manifest),
        embedding_size=chosen.embedding_size,
        space=settings.index.space,
        media=data.manifest.media,
        decoder=data.manifest.decoder,
        train_labels=data.classes,
        split_seed=chosen.seed,
        best_epoch=fitted.epoch + 1,
        metrics={name: round(float(value), 6) for name, value in fitted.metrics.items()},
        calibration=calibration,
        settings=to_plain(chosen),
        statistics=data.statistics,
    )


def _calibration(
    embed: Embed, data: TrainingData, vectors: Array, settings: Settings, notify: Callable[[str], None]
) -> Calibration | None:
    """Of the validation items, embedded as `vectors`, asked among items of the train split; tells if there is none."""
    target = settings.train.calibrate_precision
    if target is None and not settings.train.calibrate_f1:
        return None
    rows = data.gallery
    answers = open_set(vectors, data.labels, data.embed(embed, rows), data.labels_of(rows), settings.index.space)
    found = calibrate(answers, len(rows), target)
    if found is None:
        asked = f"{len(answers.rows)} of {len(vectors)} validation items have their class among {len(rows)} others"
        wanted = (
            f"no distance reaches train.calibrate_precision={target}" if len(answers.rows) else "nothing can be asked"
        )
        notify(f"train: no match threshold: {asked}, and {wanted}; search will answer always")
    return found


def _warn_of_single_classes(data: TrainingData, settings: TrainSettings, notify: Callable[[str], None]) -> None:
    """A class of one item has no pair to learn from but its own views."""
    if settings.loss == "none" or not data.single_classes or settings.small_classes == "leave_out":
        return
    notify(
        f"train: {data.single_classes:,} of {len(data.classes):,} classes have one training item, which is paired with "
        "itself; leave them out by train.small_classes=leave_out"
    )
