"""All that learns: network, proxies, heads and their optimizers; one step of them, and their state as arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sim_transforms.errors import DamagedArtefact
from sim_transforms.settings.training import TrainSettings
from trainer.backbones.stages import Network
from trainer.devices import Devices, OneDevice
from trainer.distances import CosineDistance
from trainer.losses.metric_loss import MetricLoss
from trainer.model import MetricEmbedding
from trainer.pairs import masked_mean, masks
from trainer.schedule import learning_rate, optimizer
from trainer.self_supervised.objective import ViewObjective

Array = np.ndarray[Any, Any]
# Features of a batch, its classes and a seed [2] int32 -> its views, the global ones first, and the classes of each.
MakeViews = Callable[[Any, Any, Any], tuple[list[Any], Any]]

# Between the seeds of the views of two devices.
_SEEDS_APART = 2**20


@dataclass(frozen=True)
class Terms:
    """What is made small.

    Attributes:
        metric: of labels; null where they play no part.
        objective: of two views of the same item; null for none.
    """

    metric: MetricLoss | None
    objective: ViewObjective | None


class Learner:
    """Fits a network by steps.

    Args:
        network: the model and which of its layers are trained.
        terms: of the loss.
        make_views: of a batch.
        settings: rates and weights.
        steps: of the whole training.
        devices: that share the batches; network and terms were made in their scope.
    """

    def __init__(
        self,
        network: Network,
        terms: Terms,
        make_views: MakeViews,
        settings: TrainSettings,
        steps: int,
        devices: Devices | None = None,
    ) -> None:
        self.network, self._terms, self._make_views = network, terms, make_views
        self._settings, self._steps, self._devices = settings, steps, devices or OneDevice()
        with self._devices.scope():
            self._make_optimizers()
            # Of all weights, the statistics of batch normalisation too, which belong to them.
            self._averages = [keras.Variable(weight, trainable=False) for weight in self._averaged()]
        self._compiled = tf.function(self._run, autograph=False)

    def _make_optimizers(self) -> None:
        settings, steps = self._settings, self._steps
        self._optimizer = optimizer(settings, steps)
        # It must know all variables that it will ever be given.
        self.network.set_epoch(settings.epochs - 1)
        self._optimizer.build(self._trained())
        self.network.set_epoch(0)
        # Proxies stand for whole classes and get a gradient from few of them a batch, predictors must keep up with the
        # network: they need larger steps.
        self._proxies = optimizer(settings, steps, settings.proxy_learning_rate)
        self._proxies.build(self._quick())
        self._rate = learning_rate(settings, steps)

    @property
    def model(self) -> keras.Model:
        """The network itself."""
        return self.network.model

    def begin_epoch(self, epoch: int) -> None:
        """Freezes and unfreezes layers as the settings have it."""
        if self.network.set_epoch(epoch):
            self._compiled = tf.function(self._run, autograph=False)

    def step(self, features: Any, classes: Array, number: int) -> dict[str, float]:
        """One step on a batch; `number` counts the steps before it.

        Returns:
            `loss`; `metric_loss` and `self_supervised_loss` where there are such terms; mean cosine distances of
            `positives` and `negatives` where a batch has labels; `learning_rate`.
        """
        seed = tf.constant([self._settings.seed, number], tf.int32)
        told = self._compiled(features, tf.constant(classes, tf.int32), seed, tf.constant(number, tf.int32))
        values = {name: float(value) for name, value in told.items()}
        return values | {"learning_rate": float(self._rate(number // self._settings.accumulate))}

    def views(self, features: Any, seed: Any) -> list[Any]:
        """Views of items as steps see them."""
        return self._make_views(features, tf.fill(tf.shape(features)[:1], -1), seed)[0]

    def state(self) -> dict[str, Array]:
        """Every variable that a resumed training needs, by name."""
        return {name: np.array(variable.numpy()) for name, variable in self._variables().items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Takes over a state.

        Raises:
            DamagedArtefact: it is another network's.
        """
        variables = self._variables()
        for name, variable in variables.items():
            if name not in state or state[name].shape != tuple(variable.shape):
                found = state[name].shape if name in state else "nothing"
                raise DamagedArtefact(f"checkpoint: {name}: found {found}, {tuple(variable.shape)} is expected")
            variable.assign(state[name])

    def _variables(self) -> dict[str, Any]:
        parts: dict[str, Sequence[Any]] = {
            "model": self.model.variables,
            "metric": self._terms.metric.variables if self._terms.metric else (),
            "objective": self._terms.objective.variables if self._terms.objective else (),
            "optimizer": self._optimizer.variables,
            "proxies": self._proxies.variables,
            "average": self._averages,
        }
        return {f"{part}/{place}": one for part, several in parts.items() for place, one in enumerate(several)}

    @contextmanager
    def averaged(self) -> Iterator[keras.Model]:
        """The model with the mean weights of `train.average` until the end of the block."""
        weights = self._averaged()
        latest = [weight.numpy() for weight in weights]
        for weight, average in zip(weights, self._averages, strict=True):
            weight.assign(average)
        try:
            yield self.model
        finally:
            for weight, value in zip(weights, latest, strict=True):
                weight.assign(value)

    def _averaged(self) -> list[Any]:
        return list(self.model.weights) if self._settings.average else []

    def _average(self, number: Any) -> None:
        """The mean follows: of the first steps each counts by its number, so that the initial weights do not linger."""
        steps = tf.cast(number, tf.float32) + 1.0
        kept = tf.minimum(self._settings.average, (steps - 1.0) / (steps + 1.0))
        for average, weight in zip(self._averages, self._averaged(), strict=True):
            average.assign(kept * average + (1.0 - kept) * tf.cast(weight, average.dtype))

    def _trained(self) -> list[Any]:
        objective = self._terms.objective
        quick = {id(variable) for variable in self._quick()}
        heads = objective.trainable_variables if objective is not None else []
        return [*self.model.trainable_variables, *(head for head in heads if id(head) not in quick)]

    def _quick(self) -> list[Any]:
        """Proxies and predictors."""
        proxies = self._terms.metric.trainable_variables if self._terms.metric is not None else []
        return [*proxies, *(self._terms.objective.quick if self._terms.objective is not None else [])]

    def _run(self, features: Any, classes: Any, seed: Any, number: Any) -> dict[str, Any]:
        return self._devices.run(self._step, (features, classes), (seed, number))

    def _step(self, features: Any, classes: Any, seed: Any, number: Any) -> dict[str, Any]:
        its_own = seed + tf.stack([0, self._devices.number() * _SEEDS_APART])
        views, classes = self._make_views(features, classes, its_own)
        trained, proxies, gather = self._trained(), self._quick(), self._devices.gather
        with tf.GradientTape() as tape:
            vectors, classes = [gather(part) for part in self._embed(views)], gather(classes)
            told = self._losses(vectors, views, classes)
            # Each device works out the whole loss, and the gradients of all are added.
            scaled = self._optimizer.scale_loss(told["loss"] / self._devices.count)
        gradients = tape.gradient(scaled, [*trained, *proxies])
        of_proxies = self._scaled_for_proxies(gradients[len(trained) :])
        self._optimizer.apply(gradients[: len(trained)], trained)
        if proxies:
            self._proxies.apply(of_proxies, proxies)
        if self._terms.objective is not None:
            self._terms.objective.after_step(self.model, number + 1, self._steps)
        self._average(number)
        return told | _distances(*self._labelled(vectors, classes))

    def _scaled_for_proxies(self, gradients: list[Any]) -> list[Any]:
        """With float16 the network's optimizer scales the loss, and each optimizer divides by a scale of its own."""
        if not isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            return gradients
        ratio = tf.convert_to_tensor(self._proxies.dynamic_scale) / tf.convert_to_tensor(self._optimizer.dynamic_scale)
        return [gradient if gradient is None else gradient * ratio for gradient in gradients]

    def _embed(self, views: list[Any]) -> list[Any]:
        """Vectors of each view; all global ones in one pass, whose statistics they share, then the small ones."""
        whole = len(views) - self._local_views()
        parts = [views[:whole], views[whole:]]
        vectors = []
        for part in parts:
            if part:
                vectors += tf.split(self.model(tf.concat(part, axis=0), training=True), len(part))
        return vectors

    def _labelled(self, vectors: list[Any], classes: Any) -> tuple[Any, Any]:
        """Vectors of all global views, one view after the other, and the class of each."""
        whole = len(vectors) - self._local_views()
        return tf.concat(vectors[:whole], axis=0), tf.tile(classes, [whole])

    def _head(self) -> MetricEmbedding:
        return self.model.get_layer("embedding")

    def _local_views(self) -> int:
        return self._terms.objective.local_views if self._terms.objective is not None else 0

    def _losses(self, vectors: list[Any], views: list[Any], classes: Any) -> dict[str, Any]:
        told, total = {}, tf.constant(0.0)
        if self._terms.metric is not None:
            several, of_them = self._labelled(vectors, classes)
            told["metric_loss"] = self._terms.metric(of_them, self._head().metric_part(several))
            total += told["metric_loss"]
        if self._terms.objective is not None:
            seen = [self._devices.gather(view) for view in views]
            own = [self._head().view_part(view) for view in vectors]
            told["self_supervised_loss"] = self._terms.objective(own, seen)
            weight = self._settings.self_supervised_weight if self._terms.metric is not None else 1.0
            total += weight * told["self_supervised_loss"]
        return told | {"loss": total}


def _distances(vectors: Any, classes: Any) -> dict[str, Any]:
    """Mean cosine distances of the pairs of one class, and of two, among the items that have a label."""
    positives, negatives, _ = masks(classes, classes, own=True)
    distances = CosineDistance()(vectors, vectors)
    return {"positives": masked_mean(distances, positives), "negatives": masked_mean(distances, negatives)}
