"""Supervised contrastive loss (Khosla et al. 2020, the sum outside of the logarithm)."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner
from trainer.pairs import Pairs, masked_log_sum, masked_mean
from trainer.reducers import Reducer


def supervised_contrastive(pairs: Pairs, temperature: float) -> Any:
    """Loss of each anchor, [n]: mean over its positives of the cross entropy of finding each among all others."""
    logits = pairs.similarities / temperature
    whole = masked_log_sum(logits, ops.logical_or(pairs.positives, pairs.negatives))[:, None]
    return masked_mean(whole - logits, pairs.positives, axis=1)


@keras.saving.register_keras_serializable(package="ruiji")
class SupervisedContrastive(PairLoss):
    """`supervised_contrastive` of all pairs."""

    def __init__(
        self,
        temperature: float = 0.1,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__("supervised_contrastive", distance, miner, reducer, {"temperature": temperature})
        self._temperature = temperature

    def formula(self, pairs: Pairs) -> Any:
        """`supervised_contrastive`."""
        return supervised_contrastive(pairs, self._temperature)
