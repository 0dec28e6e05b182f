"""Triplet loss (Schroff et al. 2015, "FaceNet"; Hermans et al. 2017, "In Defense of the Triplet Loss").

Which triplets count is the miner's: `HardMiner` is batch hard, `SemiHardMiner` is FaceNet's.
"""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner, SemiHardMiner
from trainer.pairs import Pairs, any_of, masked_mean
from trainer.reducers import Reducer


def triplet(positive: Any, negative: Any, margin: float | None) -> Any:
    """max(0, positive - negative + margin), or log(1 + exp(positive - negative)) where the margin is null (soft).

    Args:
        positive, negative: distances of anchors to their positives and negatives, of one shape.
        margin: how much nearer a positive must be.
    """
    difference = positive - negative
    return ops.softplus(difference) if margin is None else ops.relu(difference + margin)


@keras.saving.register_keras_serializable(package="ruiji")
class Triplet(PairLoss):
    """Mean of `triplet` over an anchor's triplets, one for each positive pair."""

    def __init__(
        self,
        margin: float | None = 0.2,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__("triplet", distance, miner or SemiHardMiner(), reducer, {"margin": margin})
        self._margin = margin

    def of_anchors(self, pairs: Pairs, references: Any) -> tuple[Any, Any]:
        """Anchors with a triplet count."""
        chosen, counted = self.miner.triplets(pairs)
        negative = ops.take_along_axis(pairs.distances, chosen, axis=1)
        return masked_mean(triplet(pairs.distances, negative, self._margin), counted, axis=1), any_of(counted)
