"""Which pairs and triplets of a batch count, as objects that a loss is handed.

`select` leaves some pairs of each anchor, for losses of pairs. `triplets` chooses a negative for each positive pair,
for losses of triplets. Choosing has no gradient.
"""

import math
from typing import Any

import keras
from keras import ops

from trainer.configured import Configured
from trainer.pairs import Pairs, any_of

_FAR = 1e9


class Miner(Configured):
    """All pairs count; each positive pair meets the anchor's nearest negative."""

    def select(self, pairs: Pairs) -> Pairs:
        """The pairs that count."""
        return pairs

    def triplets(self, pairs: Pairs) -> tuple[Any, Any]:
        """For each pair [n, m] the reference that is its negative, int32, and which positive pairs count, bool."""
        kept = self.select(pairs)
        nearest = ops.argmin(ops.where(kept.negatives, kept.distances, _FAR), axis=1)
        chosen = ops.broadcast_to(nearest[:, None], ops.shape(kept.distances))
        return ops.cast(chosen, "int32"), ops.logical_and(kept.positives, any_of(kept.negatives)[:, None])

    @property
    def variables(self) -> list[Any]:
        """What a resumed training must restore."""
        return []


@keras.saving.register_keras_serializable(package="ruiji")
class AllMiner(Miner):
    """What `Miner` does."""


@keras.saving.register_keras_serializable(package="ruiji")
class HardMiner(Miner):
    """Each anchor's farthest positive and nearest negative (Hermans et al. 2017); of several the first."""

    def select(self, pairs: Pairs) -> Pairs:
        """One pair of each kind."""
        return pairs.only(
            _only(ops.argmax(ops.where(pairs.positives, pairs.distances, -_FAR), axis=1), pairs.positives),
            _only(ops.argmin(ops.where(pairs.negatives, pairs.distances, _FAR), axis=1), pairs.negatives),
        )


@keras.saving.register_keras_serializable(package="ruiji")
class SemiHardMiner(Miner):
    """Negatives that are farther than a positive, by less than a margin (Schroff et al. 2015, FaceNet).

    Args:
        margin: of pairs; triplets take the nearest of the negatives farther than the positive, or the farthest of all
            where none is.
    """

    def __init__(self, margin: float = 0.2) -> None:
        self.margin = margin

    def select(self, pairs: Pairs) -> Pairs:
        """All positives, and the negatives beyond the nearest of them, up to the margin beyond the farthest."""
        near = ops.min(ops.where(pairs.positives, pairs.distances, _FAR), axis=1, keepdims=True)
        far = ops.max(ops.where(pairs.positives, pairs.distances, -_FAR), axis=1, keepdims=True)
        between = ops.logical_and(pairs.distances > near, pairs.distances < far + self.margin)
        return pairs.only(pairs.positives, ops.logical_and(pairs.negatives, between))

    def triplets(self, pairs: Pairs) -> tuple[Any, Any]:
        """By sorting: of each place the negatives before it are counted; the next one has that rank among them.

        In m log m, without n x m x m numbers, and for batches whose size is known only when they come.
        """
        distances, count = ops.stop_gradient(pairs.distances), ops.shape(pairs.distances)[1]
        order = ops.argsort(distances, axis=1)
        is_negative = ops.cast(ops.take_along_axis(pairs.negatives, order, axis=1), "int32")
        places = ops.arange(count, dtype="int32")[None]
        # Places of the negatives in their order, and then those of the others.
        ranked = ops.argsort(places + count * (1 - is_negative), axis=1)
        before = ops.cumsum(is_negative, axis=1) - is_negative
        last = ops.maximum(ops.sum(is_negative, axis=1, keepdims=True) - 1, 0)
        following = ops.take_along_axis(ranked, ops.minimum(before, last), axis=1)
        chosen = ops.take_along_axis(order, following, axis=1)
        # From the sorted places back to those of the references.
        back = ops.argsort(order, axis=1)
        negatives = ops.take_along_axis(chosen, back, axis=1)
        counted = ops.logical_and(pairs.positives, any_of(pairs.negatives)[:, None])
        return ops.cast(negatives, "int32"), counted

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {"margin": self.margin}


@keras.saving.register_keras_serializable(package="ruiji")
class MultiSimilarityMiner(Miner):
    """Pairs that are hard beside the others of their anchor (Wang et al. 2019, section 3.3).

    A negative counts if it is more similar than the least similar positive less `epsilon`; a positive, if it is less
    similar than the most similar negative plus `epsilon`.
    """

    def __init__(self, epsilon: float = 0.1) -> None:
        self.epsilon = epsilon

    def select(self, pairs: Pairs) -> Pairs:
        """The hard pairs; an anchor without positives or without negatives has none."""
        similarities = pairs.similarities
        low = ops.min(ops.where(pairs.positives, similarities, _FAR), axis=1, keepdims=True)
        high = ops.max(ops.where(pairs.negatives, similarities, -_FAR), axis=1, keepdims=True)
        return pairs.only(
            ops.logical_and(pairs.positives, similarities - self.epsilon < high),
            ops.logical_and(pairs.negatives, similarities + self.epsilon > low),
        )

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {"epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="ruiji")
class DistanceWeightedMiner(Miner):
    """As many negatives as positives, drawn so that all distances come equally often (Wu et al. 2017).

    Points on a sphere are mostly at right angles: the weight of a negative is one over the density of its distance. For
    embeddings of unit length.

    Args:
        dimension: of the embeddings.
        cutoff: shorter distances count as this one, as their weights would drown all others.
        seed: of the draws; how far they have come is a variable, so that a resumed training draws what it would have.
    """

    def __init__(self, dimension: int = 64, cutoff: float = 0.5, seed: int = 0) -> None:
        self.dimension, self.cutoff, self.seed = dimension, cutoff, seed
        self._generator = keras.random.SeedGenerator(seed)

    @property
    def variables(self) -> list[Any]:
        """How far the draws have come."""
        return [self._generator.state]

    def select(self, pairs: Pairs) -> Pairs:
        """All positives, and as many of the negatives as an anchor has positives."""
        ranks = ops.argsort(self._drawn(pairs), axis=1)
        wanted = ops.sum(ops.cast(pairs.positives, "int32"), axis=1, keepdims=True)
        drawn = ops.logical_and(pairs.negatives, ops.cast(ranks, "int32") < wanted)
        return pairs.only(pairs.positives, drawn)

    def triplets(self, pairs: Pairs) -> tuple[Any, Any]:
        """The first positive meets the negative drawn first, and so on; from the beginning where they run out."""
        order = self._drawn(pairs)
        number = ops.cumsum(ops.cast(pairs.positives, "int32"), axis=1) - 1
        there = ops.maximum(ops.sum(ops.cast(pairs.negatives, "int32"), axis=1, keepdims=True), 1)
        chosen = ops.take_along_axis(order, ops.mod(ops.maximum(number, 0), there), axis=1)
        counted = ops.logical_and(pairs.positives, any_of(pairs.negatives)[:, None])
        return ops.cast(chosen, "int32"), counted

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {"dimension": self.dimension, "cutoff": self.cutoff, "seed": self.seed}

    def _drawn(self, pairs: Pairs) -> Any:
        """[n, m] references in the order in which they are drawn, negatives first, without repetition (Gumbel)."""
        # Of unit vectors at this angle; any distance that is handed in has its order.
        cosine = ops.clip(ops.stop_gradient(pairs.similarities), -1.0, 1.0)
        squared = ops.clip(2.0 - 2.0 * cosine, self.cutoff**2, 4.0 - 1e-4)
        weights = -(self.dimension - 2.0) / 2.0 * ops.log(squared)
        weights -= (self.dimension - 3.0) / 2.0 * ops.log(1.0 - squared / 4.0)
        # No pair counts more than one at the cutoff: on the far side of the sphere there are next to none either.
        near = self.cutoff**2
        most = -(self.dimension - 2.0) * math.log(near) - (self.dimension - 3.0) * math.log(1.0 - near / 4.0)
        weights = ops.minimum(weights, most / 2.0)
        uniform = keras.random.uniform(ops.shape(weights), 1e-7, 1.0 - 1e-7, seed=self._generator)
        drawn = -ops.log(-ops.log(uniform))
        return ops.argsort(-ops.where(pairs.negatives, weights + drawn, -_FAR), axis=1)


def _only(chosen: Any, mask: Any) -> Any:
    """[n] references -> [n, m] mask of them, where they stand in `mask`."""
    columns = ops.arange(ops.shape(mask)[1])
    return ops.logical_and(mask, ops.equal(ops.cast(chosen, columns.dtype)[:, None], columns[None]))


MINERS: dict[str, type[Miner]] = {
    "none": AllMiner,
    "hard": HardMiner,
    "semi_hard": SemiHardMiner,
    "multi_similarity": MultiSimilarityMiner,
    "distance_weighted": DistanceWeightedMiner,
}
