"""examples/ -> model/: the training job.

Deterministic on one machine: the same examples, settings and seed give the same weights bit for bit.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sim_transforms.errors import Collapsed
from sim_transforms.features.example_format import decode_example
from sim_transforms.records.codec import to_plain
from sim_transforms.records.manifests import ExamplesManifest, ModelManifest
from sim_transforms.records.media import SoundShape
from sim_transforms.records.statistics import DataStatistics, data_statistics
from sim_transforms.settings.stages import Settings
from sim_transforms.settings.training import TrainSettings
from sim_transforms.storage.files import write_file
from trainer.calibration import calibrate
from trainer.dataset import FeatureReader
from trainer.export import export_model, fingerprint
from trainer.losses.multi_similarity import MultiSimilarity
from trainer.metrics import is_better, validation_metrics
from trainer.model import convolutional_model, sound_model
from trainer.sampler import BalancedSampler, Places, RecordReader, load_places, split_training
from trainer.self_supervised.augment import Augmentation, augment
from trainer.self_supervised.simclr import nt_xent
from trainer.sound_views import ClipNeighbors, SoundViews

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
    sound: SoundShape | None
    seed: int

    def batch(self, rows: Array) -> Any:
        """Features of rows, [b, *feature_shape] float32."""
        return self.features.features([self.records.read(self.places, int(row)) for row in rows])

    def clip_views(self) -> Callable[[Array], Any]:
        """A function of rows -> [2b, *feature_shape]: first views, then second ones."""
        assert self.sound is not None
        neighbors, views = ClipNeighbors(self.places.item_ids, self.sound), SoundViews(self.sound, self.seed)

        def make(rows: Array) -> Any:
            pairs = []
            for row in rows:
                after = int(neighbors.follows[row])
                pairs.append(views.pair(self._clip(int(row)), self._clip(after) if after >= 0 else None))
            return self.features.features_of_media([first for first, _ in pairs] + [second for _, second in pairs])

        return make

    def _clip(self, row: int) -> Array:
        return np.frombuffer(decode_example(self.records.read(self.places, row)).media, "<i2")


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
    readers, sound = (RecordReader(folder, manifest), FeatureReader(folder)), manifest.media.sound
    split = split_training(places, chosen.train_labels, chosen.validation_share, chosen.seed, sound is not None)
    data = _Data(places, *readers, split.training, split.validation, sound, chosen.seed)
    make_network = convolutional_model if sound is None else sound_model
    network = make_network(manifest.media.feature_shape, chosen.embedding_size)
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
    step_function = _step_function(network, settings, total, _picture_views if data.sound is None else _clip_views)
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
    read = data.batch if data.sound is None else data.clip_views()
    for rows in sampler:
        classes = [numbers[str(label)] for label in data.places.labels[rows]]
        yield read(rows), tf.constant(classes, tf.int32)


def _picture_views(features: Any, seed: Any) -> Any:
    """[b, ...] features -> [2b, ...]: two views of each."""
    views = [augment(features, seed + tf.constant([0, n * 2**24], tf.int32), Augmentation()) for n in range(2)]
    return tf.concat(views, axis=0)


def _clip_views(features: Any, seed: Any) -> Any:
    """Views that were made of the samples already."""
    return features


def _step_function(
    network: keras.Model, settings: TrainSettings, total: int, views_of: Callable[[Any, Any], Any]
) -> Callable[[Any, Any, Any], Any]:
    """One step: two views of the batch, the metric loss on both, the self-supervised term between them."""
    warm = max(1, total // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 10, max(1, total - warm), warmup_target=settings.learning_rate, warmup_steps=warm
    )
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(network.trainable_variables)
    metric_loss = MultiSimilarity()

    @tf.function(jit_compile=False)
    def step(features: Any, classes: Any, seed: Any) -> Any:
        views = views_of(features, seed)
        with tf.GradientTape() as tape:
            vectors = network(views, training=True)
            loss = metric_loss(tf.concat([classes, classes], axis=0), vectors)
            if settings.self_supervised == "simclr":
                first, second = tf.split(vectors, 2)
                loss += settings.self_supervised_weight * nt_xent(first, second, settings.temperature)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    return step


def embed_rows(network: keras.Model, data: _Data, rows: Array) -> Array:
    """[n] rows -> [n, dim] float32."""
    block = 256 if data.sound is None else 32
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
        statistics=_statistics(examples),
    )


def _statistics(examples: Path) -> DataStatistics | None:
    """What the examples say of themselves."""
    known = json.loads((examples / "statistics.json").read_bytes())
    return (
        data_statistics(known["labels"], tuple(known["mean"]), tuple(known["deviation"])) if "mean" in known else None
    )
