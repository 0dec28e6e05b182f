"""Circle loss (Sun et al. 2020, "Circle Loss: A Unified Perspective of Pair Similarity Optimization")."""

from typing import Any

import keras
from keras import ops

from trainer.distances import Distance
from trainer.losses.metric_loss import PairLoss
from trainer.miners import Miner
from trainer.pairs import Pairs, any_of, masked_log_sum
from trainer.reducers import Reducer


def circle(pairs: Pairs, margin: float, gamma: float) -> Any:
    """Loss of each anchor, [n]: softplus of the two log sums, each pair weighed by how far it is from its optimum.

    Args:
        pairs: that count, with cosines as similarities.
        margin: of both optima, 1 + margin and -margin.
        gamma: scale.
    """
    similarities = pairs.similarities
    pull = ops.stop_gradient(ops.relu(1.0 + margin - similarities))
    push = ops.stop_gradient(ops.relu(similarities + margin))
    near = masked_log_sum(-gamma * pull * (similarities - (1.0 - margin)), pairs.positives)
    far = masked_log_sum(gamma * push * (similarities - margin), pairs.negatives)
    return ops.softplus(near + far)


@keras.saving.register_keras_serializable(package="ruiji")
class Circle(PairLoss):
    """`circle` of all pairs."""

    def __init__(
        self,
        margin: float = 0.25,
        gamma: float = 80.0,
        distance: Distance | None = None,
        miner: Miner | None = None,
        reducer: Reducer | None = None,
    ) -> None:
        parameters = {"margin": margin, "gamma": gamma}
        super().__init__("circle", distance, miner, reducer, parameters)
        self._constants = parameters

    def of_anchors(self, pairs: Pairs, references: Any) -> tuple[Any, Any]:
        """Anchors with pairs of both kinds count."""
        kept = self.miner.select(pairs)
        return circle(kept, **self._constants), ops.logical_and(any_of(kept.positives), any_of(kept.negatives))
