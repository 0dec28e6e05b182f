"""PN loss: a triplet that counts whichever of its two foes is nearer, to the anchor or to the positive.

Source: Xu et al. 2019, "Learning Compact Target-Oriented Feature Representations for Visual Tracking"
(arXiv:1908.01546).
"""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance
from trainer.losses.metric_loss import PairLoss
from trainer.losses.triplet import triplet
from trainer.miners import HardMiner, Miner
from trainer.pairs import Pairs, any_of
from trainer.reducers import Reducer

_FAR = 1e9


@keras.saving.register_keras_serializable(package="ruiji")
class PositiveNegative(PairLoss):
    """Of each anchor's farthest positive among those that are mined, and the negative that the miner gives it."""

    def __init__(
        self,
        margin: float | None = None,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__("pn", distance, miner or HardMiner(), reducer, {"margin": margin})
        self._margin = margin

    def of_anchors(self, pairs: Pairs, references: Any) -> tuple[Any, Any]:
        """Anchors with a triplet count."""
        chosen, counted = self.miner.triplets(pairs)
        positive = ops.argmax(ops.where(counted, pairs.distances, -_FAR), axis=1)[:, None]
        negative = ops.take_along_axis(chosen, ops.cast(positive, "int32"), axis=1)
        near = ops.take_along_axis(pairs.distances, ops.cast(positive, "int32"), axis=1)[:, 0]
        foe = ops.take_along_axis(pairs.distances, negative, axis=1)[:, 0]
        of_positive = _rowwise(self.distance, ops.take(references, positive[:, 0], axis=0), references, negative)
        return triplet(near, ops.minimum(foe, of_positive), self._margin), any_of(counted)


def _rowwise(distance: Distance, a: Any, references: Any, chosen: Any) -> Any:
    """[n, d] and of each a reference [n, 1] -> [n] distances."""
    return ops.take_along_axis(distance(a, references), chosen, axis=1)[:, 0]
