"""N-pair loss, also called multiple negatives ranking (Sohn 2016, "Improved Deep Metric Learning")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner
from trainer.pairs import Pairs, masked_log_sum, masked_mean
from trainer.reducers import Reducer


def multiple_negatives(pairs: Pairs, temperature: float) -> Any:
    """Loss of each anchor, [n]: mean over its positives of the cross entropy of finding each among all negatives."""
    logits = pairs.similarities / temperature
    against = masked_log_sum(logits, pairs.negatives)[:, None]
    return masked_mean(ops.softplus(against - logits), pairs.positives, axis=1)


@keras.saving.register_keras_serializable(package="ruiji")
class MultipleNegatives(PairLoss):
    """`multiple_negatives` of all pairs."""

    def __init__(
        self,
        temperature: float = 0.1,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        super().__init__("multiple_negatives", distance, miner, reducer, {"temperature": temperature})
        self._temperature = temperature

    def formula(self, pairs: Pairs) -> Any:
        """`multiple_negatives`."""
        return multiple_negatives(pairs, self._temperature)
