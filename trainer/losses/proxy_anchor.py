"""Proxy-Anchor loss (Kim et al. 2020, "Proxy Anchor Loss for Deep Metric Learning")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance
from trainer.losses.cross_entropy import own_class
from trainer.losses.metric_loss import ProxyLoss
from trainer.pairs import any_of, log_one_plus_sum, masked_mean


def proxy_anchor(similarities: Any, labels: Any, alpha: float, delta: float) -> Any:
    """Scalar: mean over the proxies of the batch's classes of their pull, and over all proxies of their push.

    Args:
        similarities: [classes, b] of proxies to the batch.
        labels: [b], -1 without a label.
        alpha: scale.
        delta: margin.
    """
    positives = ops.transpose(own_class(labels, ops.shape(similarities)[0]))
    negatives = ops.logical_and(ops.logical_not(positives), (labels >= 0)[None])
    pull = log_one_plus_sum(-alpha * (similarities - delta), positives)
    push = log_one_plus_sum(alpha * (similarities + delta), negatives)
    return masked_mean(pull, any_of(positives)) + ops.mean(push)


@keras.saving.register_keras_serializable(package="ruiji")
class ProxyAnchor(ProxyLoss):
    """`proxy_anchor` with one learned proxy a class. Its anchors are proxies: it takes no reducer."""

    def __init__(self, alpha: float = 32.0, delta: float = 0.1, distance: Distance | None = None) -> None:
        parameters = {"alpha": alpha, "delta": delta}
        super().__init__("proxy_anchor", distance, 1, parameters)
        self._constants = parameters

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of the batch."""
        return proxy_anchor(self.distance.similarity(self.proxies, y_pred), y_true, **self._constants)
