"""examples/ -> model/: the training job.

Deterministic on one machine: the same examples, settings and seed give the same weights bit for bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sim_transforms.errors import Collapsed
from sim_transforms.records.codec import to_plain
from sim_transforms.records.manifests import ExamplesManifest, ModelManifest
from sim_transforms.settings.stages import Settings, TrainSettings
from sim_transforms.storage.files import write_file
from trainer.calibration import calibrate
from trainer.dataset import FeatureReader
from trainer.export import export_model, fingerprint
from trainer.losses.multi_similarity import MultiSimilarity
from trainer.metrics import is_better, validation_metrics
from trainer.model import convolutional_model
from trainer.sampler import BalancedSampler, Places, RecordReader, load_places, split_training
from trainer.self_supervised.augment import Augmentation, augment
from trainer.self_supervised.simclr import nt_xent

Array = np.ndarray[Any, Any]
Progress = Callable[[str, int, int], None]

_COLLAPSED_BELOW = 1e-4


@dataclass(frozen=True)
class _Data:
    """What the loop reads: places of all examples, and rows to train on and to validate with."""

    places: Places
    records: RecordReader
    features: FeatureReader
    training: Array
    validation: Array

    def batch(self, rows: Array) -> Any:
        """Features of rows, [b, *shape] float32."""
        return self.features.features([self.records.read(self.places, int(row)) for row in rows])


@dataclass
class _Best:
    """The best epoch so far."""

    epoch: int
    metrics: dict[str, float]
    weights: list[Array]
    vectors: Array


def train(examples: str, output: str, settings: Settings, progress: Progress) -> ModelManifest:
    """Fits a model and writes it into the empty folder `output`, the manifest last.

    Raises:
        UsageError: labels or items that cannot be trained on.
        Collapsed: the best epoch maps all validation items to one point.
    """
    chosen, folder = settings.train, Path(examples)
    manifest = ExamplesManifest.load(folder)
    _make_deterministic(chosen.seed)
    places = load_places(folder)
    split = split_training(places, chosen.train_labels, chosen.validation_share, chosen.seed)
    data = _Data(places, RecordReader(folder, manifest), FeatureReader(folder), split.training, split.validation)
    network = convolutional_model(manifest.media.shape, chosen.embedding_size)
    try:
        best = _fit(network, data, chosen, progress)
    finally:
        data.records.close()
    network.set_weights(best.weights)
    export_model(network, folder, Path(output))
    made = _describe(network, manifest, settings, best, data, split.classes, folder)
    write_file(Path(output) / "manifest.json", made.text().encode())
    return made


def _make_deterministic(seed: int) -> None:
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _fit(network: keras.Model, data: _Data, settings: TrainSettings, progress: Progress) -> _Best:
    """Runs all epochs and keeps the best."""
    steps = steps_per_epoch(len(data.training), settings)
    total = settings.epochs * steps
    step_function = _step_function(network, settings, total)
    labels = [str(label) for label in data.places.labels[data.validation]]
    batches = _batches(data, settings)
    best: _Best | None = None
    for epoch in range(settings.epochs):
        for step in range(epoch * steps, (epoch + 1) * steps):
            features, classes = next(batches)
            step_function(features, classes, tf.constant([settings.seed, step], tf.int32))
            progress("train", step + 1, total)
        vectors = embed_rows(network, data, data.validation)
        metrics = validation_metrics(vectors, labels)
        if is_better(metrics, best.metrics if best else None):
            best = _Best(epoch, metrics, network.get_weights(), vectors)
    assert best is not None
    if not float(best.vectors.std(axis=0).max()) > _COLLAPSED_BELOW:
        raise Collapsed("the model maps all validation items to one point; lower train.learning_rate or train longer")
    return best


def steps_per_epoch(items: int, settings: TrainSettings) -> int:
    """Batches an epoch: as set, else one pass over the items, at least 60."""
    if settings.steps_per_epoch != "auto":
        return settings.steps_per_epoch
    return max(60, -(-items // (settings.classes_per_batch * settings.examples_per_class)))


def _batches(data: _Data, settings: TrainSettings) -> Iterator[tuple[Any, Any]]:
    numbers = {label: i for i, label in enumerate(sorted({str(x) for x in data.places.labels[data.training]}))}
    sampler = BalancedSampler(
        data.places.labels, data.training, settings.classes_per_batch, settings.examples_per_class, settings.seed
    )
    for rows in sampler:
        classes = [numbers[str(label)] for label in data.places.labels[rows]]
        yield data.batch(rows), tf.constant(classes, tf.int32)


def _step_function(network: keras.Model, settings: TrainSettings, total: int) -> Callable[[Any, Any, Any], Any]:
    """One step: two views of the batch, the metric loss on both, the self-supervised term between them."""
    warm = max(1, total // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 10, max(1, total - warm), warmup_target=settings.learning_rate, warmup_steps=warm
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(network.trainable_variables)
    metric_loss, strength = MultiSimilarity(), Augmentation()

    @tf.function(jit_compile=False)
    def step(features: Any, classes: Any, seed: Any) -> Any:
        views = [augment(features, seed + tf.constant([0, n * 2**24], tf.int32), strength) for n in range(2)]
        with tf.GradientTape() as tape:
            vectors = network(tf.concat(views, axis=0), training=True)
            loss = metric_loss(tf.concat([classes, classes], axis=0), vectors)
            if settings.self_supervised == "simclr":
                first, second = tf.split(vectors, 2)
                loss += settings.self_supervised_weight * nt_xent(first, second, settings.temperature)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    return step


def embed_rows(network: keras.Model, data: _Data, rows: Array, block: int = 256) -> Array:
    """[n] rows -> [n, dim] float32."""
    blocks = [rows[start : start + block] for start in range(0, len(rows), block)]
    return np.concatenate([np.asarray(network(data.batch(b), training=False)) for b in blocks])


def _describe(
    network: keras.Model,
    manifest: ExamplesManifest,
    settings: Settings,
    best: _Best,
    data: _Data,
    classes: tuple[str, ...],
    examples: Path,
) -> ModelManifest:
    chosen = settings.train
    labels = [str(label) for label in data.places.labels[data.validation]]
    target = chosen.calibrate_precision
    return ModelManifest(
        fingerprint=fingerprint(network, examples, manifest),
        embedding_size=chosen.embedding_size,
        space=settings.index.space,
        media=manifest.media,
        decoder=manifest.decoder,
        train_labels=tuple(sorted(classes)),
        split_seed=chosen.seed,
        best_epoch=best.epoch + 1,
        metrics={name: round(float(value), 6) for name, value in best.metrics.items()},
        calibration=calibrate(best.vectors, labels, target) if target is not None else None,
        settings=to_plain(chosen),
    )
