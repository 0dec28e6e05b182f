"""Lifted structure loss (Oh Song et al. 2016, "Deep Metric Learning via Lifted Structured Feature Embedding")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance, EuclideanDistance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner
from trainer.pairs import Pairs, masked_log_sum, masked_mean
from trainer.reducers import Reducer


def lifted_structure(pairs: Pairs, margin: float) -> Any:
    """Loss of each anchor, [n]: half the mean over its positives of max(0, J)^2.

    J = log(sum exp(margin - d) over the negatives of both ends of the pair) + the distance of the pair. The negatives
    of a positive that is a reference alone are the anchors of other classes.

    Args:
        pairs: that count.
        margin: of the negatives.
    """
    closeness = margin - pairs.distances
    of_anchors = masked_log_sum(closeness, pairs.negatives, axis=1)
    of_references = masked_log_sum(closeness, pairs.negatives, axis=0)
    both = ops.logaddexp(of_anchors[:, None], of_references[None]) + pairs.distances
    return masked_mean(ops.square(ops.relu(both)), pairs.positives, axis=1) / 2.0


@keras.saving.register_keras_serializable(package="ruiji")
class LiftedStructure(PairLoss):
    """`lifted_structure` by the Euclidean distance."""

    def __init__(
        self,
        margin: float = 1.0,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__("lifted_structure", distance or EuclideanDistance(), miner, reducer, {"margin": margin})
        self._margin = margin

    def formula(self, pairs: Pairs) -> Any:
        """`lifted_structure`."""
        return lifted_structure(pairs, self._margin)
