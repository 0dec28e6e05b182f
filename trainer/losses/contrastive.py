"""Contrastive loss (Hadsell et al. 2006, "Dimensionality Reduction by Learning an Invariant Mapping")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance, EuclideanDistance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner
from trainer.pairs import Pairs, any_of, masked_mean
from trainer.reducers import Reducer


def contrastive(pairs: Pairs, margin: float, slack: float) -> Any:
    """Loss of each anchor, [n]: half of the mean squares by which positives are too far and negatives too near.

    Of negatives the mean is over those within the margin, so that the many that are far already do not drown them.

    Args:
        pairs: that count.
        margin: from which a negative is far enough.
        slack: up to which a positive is near enough.
    """
    pull = masked_mean(ops.square(ops.relu(pairs.distances - slack)), pairs.positives, axis=1)
    near = ops.logical_and(pairs.negatives, pairs.distances < margin)
    push = masked_mean(ops.square(ops.relu(margin - pairs.distances)), near, axis=1)
    return (pull + push) / 2.0


@keras.saving.register_keras_serializable(package="ruiji")
class Contrastive(PairLoss):
    """`contrastive` by the Euclidean distance."""

    def __init__(
        self,
        margin: float = 1.0,
        slack: float = 0.0,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        parameters = {"margin": margin, "slack": slack}
        super().__init__("contrastive", distance or EuclideanDistance(), miner, reducer, parameters)
        self._constants = parameters

    def of_anchors(self, pairs: Pairs, references: Any) -> tuple[Any, Any]:
        """Anchors with a pair count."""
        kept = self.miner.select(pairs)
        return contrastive(kept, **self._constants), any_of(ops.logical_or(kept.positives, kept.negatives))
