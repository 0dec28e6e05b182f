"""MultiSimilarity loss (Wang et al. 2019, "Multi-Similarity Loss with General Pair Weighting")."""

from typing import Any

import keras

from trainer.distances import Distance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner, MultiSimilarityMiner
from trainer.pairs import Pairs, log_one_plus_sum
from trainer.reducers import Reducer


def multi_similarity(pairs: Pairs, alpha: float, beta: float, base: float) -> Any:
    """Loss of each anchor, [n]: log(1 + sum exp(-alpha (s - base))) / alpha of positives, and so on of negatives.

    An anchor without pairs has 0; so a batch of one class, or of identical vectors, gives a finite loss.

    Args:
        pairs: mined.
        alpha, beta: weights of positives and negatives.
        base: similarity at which both weigh the same.
    """
    pull = log_one_plus_sum(-alpha * (pairs.similarities - base), pairs.positives) / alpha
    push = log_one_plus_sum(beta * (pairs.similarities - base), pairs.negatives) / beta
    return pull + push


@keras.saving.register_keras_serializable(package="ruiji")
class MultiSimilarity(PairLoss):
    """`multi_similarity` of the pairs that are hard beside the others of their anchor."""

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 40.0,
        base: float = 0.5,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        parameters = {"alpha": alpha, "beta": beta, "base": base}
        super().__init__("multi_similarity", distance, miner or MultiSimilarityMiner(), reducer, parameters)
        self._constants = parameters

    def of_anchors(self, pairs: Pairs, references: Any) -> tuple[Any, Any]:
        """All anchors with a label count, also those without hard pairs."""
        return multi_similarity(self.miner.select(pairs), **self._constants), pairs.anchors
