"""All that learns: network, proxies, heads and their optimizers; one step of them, and their state as arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sim_transforms.errors import DamagedArtefact
from sim_transforms.settings.training import TrainSettings
from trainer.backbones.stages import Network
from trainer.devices import Devices, OneDevice
from trainer.losses.metric_loss import MetricLoss
from trainer.schedule import learning_rate, optimizer
from trainer.self_supervised.objective import ViewObjective

Array = np.ndarray[Any, Any]
# Features of a batch and a seed [2] int32 -> its views, the global ones first.
MakeViews = Callable[[Any, Any], list[Any]]

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
        self._compiled = tf.function(self._run)

    def _make_optimizers(self) -> None:
        settings, steps = self._settings, self._steps
        self._optimizer = optimizer(settings, steps)
        # It must know all variables that it will ever be given.
        self.network.set_epoch(settings.epochs - 1)
        self._optimizer.build(self._trained())
        self.network.set_epoch(0)
        # Proxies stand for whole classes and get a gradient from few of them a batch: they need larger steps.
        self._proxies = optimizer(settings, steps, settings.proxy_learning_rate)
        self._proxies.build(self._proxy_variables())
        self._rate = learning_rate(settings, steps)

    @property
    def model(self) -> keras.Model:
        """The network itself."""
        return self.network.model

    def begin_epoch(self, epoch: int) -> None:
        """Freezes and unfreezes layers as the settings have it."""
        if self.network.set_epoch(epoch):
            self._compiled = tf.function(self._run)

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
        }
        return {f"{part}/{place}": one for part, several in parts.items() for place, one in enumerate(several)}

    def _trained(self) -> list[Any]:
        heads = self._terms.objective.trainable_variables if self._terms.objective else []
        return [*self.model.trainable_variables, *heads]

    def _proxy_variables(self) -> list[Any]:
        return list(self._terms.metric.trainable_variables) if self._terms.metric else []

    def _run(self, features: Any, classes: Any, seed: Any, number: Any) -> dict[str, Any]:
        return self._devices.run(self._step, (features, classes), (seed, number))

    def _step(self, features: Any, classes: Any, seed: Any, number: Any) -> dict[str, Any]:
        views = self._make_views(features, seed + tf.stack([0, self._devices.number() * _SEEDS_APART]))
        trained, proxies, gather = self._trained(), self._proxy_variables(), self._devices.gather
        with tf.GradientTape() as tape:
            vectors, classes = [gather(part) for part in self._embed(views)], gather(classes)
            told = self._losses(vectors, views, classes)
            # Each device works out the whole loss, and the gradients of all are added.
            scaled = self._optimizer.scale_loss(told["loss"] / self._devices.count)
        gradients = tape.gradient(scaled, [*trained, *proxies])
        self._optimizer.apply(gradients[: len(trained)], trained)
        if proxies:
            self._proxies.apply(gradients[len(trained) :], proxies)
        if self._terms.objective is not None:
            self._terms.objective.after_step(self.model, number + 1, self._steps)
        return told | _distances(*self._labelled(vectors, classes))

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

    def _local_views(self) -> int:
        return self._terms.objective.local_views if self._terms.objective is not None else 0

    def _losses(self, vectors: list[Any], views: list[Any], classes: Any) -> dict[str, Any]:
        told, total = {}, tf.constant(0.0)
        if self._terms.metric is not None:
            several, of_them = self._labelled(vectors, classes)
            told["metric_loss"] = self._terms.metric(of_them, several)
            total += told["metric_loss"]
        if self._terms.objective is not None:
            seen = [self._devices.gather(view) for view in views]
            told["self_supervised_loss"] = self._terms.objective(vectors, seen)
            weight = self._settings.self_supervised_weight if self._terms.metric is not None else 1.0
            total += weight * told["self_supervised_loss"]
        return told | {"loss": total}


def _distances(vectors: Any, classes: Any) -> dict[str, Any]:
    """Mean cosine distances of the pairs of one class, and of two, among the items that have a label."""
    cosine = tf.matmul(vectors, vectors, transpose_b=True)
    has_label = classes >= 0
    both = tf.logical_and(has_label[:, None], has_label[None])
    same = tf.equal(classes[:, None], classes[None])
    itself = tf.eye(tf.shape(vectors)[0], dtype=tf.bool)
    pairs = {"positives": both & same & ~itself, "negatives": both & ~same}
    return {name: _mean(1.0 - cosine, tf.cast(mask, tf.float32)) for name, mask in pairs.items()}


def _mean(values: Any, mask: Any) -> Any:
    return tf.math.divide_no_nan(tf.reduce_sum(values * mask), tf.reduce_sum(mask))
