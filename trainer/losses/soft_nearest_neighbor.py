"""Soft nearest neighbour loss (Frosst et al. 2019, "Analyzing and Improving Representations")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance, SquaredEuclideanDistance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner
from trainer.pairs import Pairs, masked_log_sum
from trainer.reducers import Reducer


def soft_nearest_neighbor(pairs: Pairs, temperature: float) -> Any:
    """Loss of each anchor, [n]: minus the log of the share of exp(-d / temperature) that its positives have."""
    closeness = -pairs.distances / temperature
    whole = masked_log_sum(closeness, ops.logical_or(pairs.positives, pairs.negatives))
    return whole - masked_log_sum(closeness, pairs.positives)


@keras.saving.register_keras_serializable(package="ruiji")
class SoftNearestNeighbor(PairLoss):
    """`soft_nearest_neighbor` by the squared distance."""

    def __init__(
        self,
        temperature: float = 0.2,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        chosen = distance or SquaredEuclideanDistance()
        super().__init__("soft_nearest_neighbor", chosen, miner, reducer, {"temperature": temperature})
        self._temperature = temperature

    def formula(self, pairs: Pairs) -> Any:
        """`soft_nearest_neighbor`."""
        return soft_nearest_neighbor(pairs, self._temperature)
