"""SoftTriple loss (Qian et al. 2019, "SoftTriple Loss: Deep Metric Learning Without Triplet Sampling")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance, unit
from trainer.losses.cross_entropy import cross_entropy, own_class
from trainer.losses.metric_loss import ProxyLoss
from trainer.reducers import MeanReducer, Reducer

_TINY = 1e-12


def soft_triple(similarities: Any, labels: Any, gamma: float, delta: float, scale: float) -> Any:
    """Loss of each item, [b]: cross entropy of the similarities to the classes, each a soft maximum over its centres.

    Args:
        similarities: [b, classes, centres].
        labels: [b] class numbers; of -1 the loss is 0.
        gamma: temperature of the soft maximum.
        delta: margin.
        scale: of the logits.
    """
    of_classes = ops.sum(ops.softmax(similarities / gamma, axis=2) * similarities, axis=2)
    is_own = own_class(labels, ops.shape(of_classes)[1])
    return cross_entropy(scale * (of_classes - delta * ops.cast(is_own, "float32")), is_own)


def spread(centres: Any) -> Any:
    """Half the mean distance of the centres [classes, k, d] of a class to each other, which merges needless ones.

    Half, as the paper counts each pair once and divides by k (k - 1).
    """
    directions = unit(centres)
    cosines = ops.matmul(directions, ops.transpose(directions, (0, 2, 1)))
    count = cosines.shape[1]
    if count < 2:
        return ops.zeros((), "float32")
    apart = ops.logical_not(ops.eye(count, dtype="bool"))[None]
    squared = ops.where(apart, ops.maximum(2.0 - 2.0 * cosines, _TINY), 1.0)
    total = ops.sum(ops.where(apart, ops.sqrt(squared), 0.0))
    return total / (2.0 * cosines.shape[0] * count * (count - 1))


@keras.saving.register_keras_serializable(package="ruiji")
class SoftTriple(ProxyLoss):
    """`soft_triple` with several learned centres a class, and `tau` times their `spread`."""

    def __init__(
        self,
        centres: int = 5,
        gamma: float = 0.1,
        delta: float = 0.01,
        scale: float = 20.0,
        tau: float = 0.2,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        self.reducer, self._centres, self._tau = reducer or MeanReducer(), centres, tau
        self._constants = {"gamma": gamma, "delta": delta, "scale": scale}
        further = {"centres": centres, "tau": tau, "reducer": self.reducer}
        super().__init__("soft_triple", distance, centres, {**self._constants, **further})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of the items that have a label."""
        shape = (-1, self.classes, self._centres)
        similarities = ops.reshape(self.distance.similarity(y_pred, self.proxies), shape)
        values = soft_triple(similarities, y_true, **self._constants)
        centres = ops.reshape(ops.convert_to_tensor(self.proxies), (self.classes, self._centres, -1))
        return self.reducer(values, y_true >= 0) + self._tau * spread(centres)
