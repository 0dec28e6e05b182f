"""ArcFace loss (Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition")."""

import math
from typing import Any

import keras
from keras import ops

from trainer.distances import Distance
from trainer.losses.cross_entropy import cross_entropy, own_class
from trainer.losses.metric_loss import ProxyLoss
from trainer.reducers import MeanReducer, Reducer

_TINY = 1e-6


def arcface(cosines: Any, labels: Any, margin: float, scale: float) -> Any:
    """Loss of each item, [b]: cross entropy where the angle to the own class's proxy counts for `margin` more.

    Where the angle and the margin pass half a turn the cosine goes on falling in a straight line, as in the paper's
    code.

    Args:
        cosines: [b, classes] of the items to the proxies.
        labels: [b] class numbers; of -1 the loss is 0.
        margin: radians.
        scale: of the logits.
    """
    bounded = ops.clip(cosines, -1.0, 1.0)
    sines = ops.sqrt(ops.maximum(1.0 - ops.square(bounded), _TINY))
    turned = bounded * math.cos(margin) - sines * math.sin(margin)
    beyond = bounded - math.sin(math.pi - margin) * margin
    own = ops.where(bounded > math.cos(math.pi - margin), turned, beyond)
    is_own = own_class(labels, ops.shape(cosines)[1])
    return cross_entropy(scale * ops.where(is_own, own, bounded), is_own)


@keras.saving.register_keras_serializable(package="ruiji")
class ArcFace(ProxyLoss):
    """`arcface` with one learned proxy a class."""

    def __init__(
        self,
        margin: float = 0.5,
        scale: float = 30.0,
        distance: Distance | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        self.reducer = reducer or MeanReducer()
        super().__init__("arcface", distance, 1, {"margin": margin, "scale": scale, "reducer": self.reducer})
        self._constants = {"margin": margin, "scale": scale}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of the items that have a label."""
        cosines = self.distance.similarity(y_pred, self.proxies)
        return self.reducer(arcface(cosines, y_true, **self._constants), y_true >= 0)
