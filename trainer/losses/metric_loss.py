"""What all metric losses share: labels and embeddings in, one float32 number out."""

from typing import Any, Self

import keras
from keras import ops

from trainer.configured import Configured
from trainer.distances import CosineDistance, Distance
from trainer.miners import AllMiner, Miner
from trainer.pairs import Pairs, any_of, masks
from trainer.reducers import MeanReducer, Reducer


class MetricLoss(keras.losses.Loss):
    """A loss of class numbers [b] int32 (-1: without a label, in no pair) and embeddings [b, d].

    All arithmetic is in float32, whatever comes in. Parameters are keyword arguments of the subclass, which hands them
    over as `parameters` to have them saved.
    """

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        super().__init__(name=name, reduction=None, dtype="float32")
        self.parameters = parameters

    def build(self, dimension: int, classes: int, seed: int) -> None:
        """Makes what is learned beside the network: nothing, for losses of pairs."""

    @property
    def trainable_variables(self) -> list[Any]:
        """What is learned beside the network."""
        return []

    @property
    def variables(self) -> list[Any]:
        """All that a resumed training must restore."""
        return self.trainable_variables

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {name: _plain(value) for name, value in self.parameters.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Inverse of `get_config`."""
        return cls(**{name: _object(value) for name, value in config.items()})


class PairLoss(MetricLoss):
    """A loss of pairs: a distance, a miner and a reducer, and of each anchor what a subclass makes of its pairs.

    Args:
        name: of the loss.
        distance, miner, reducer: as the subclass chose where the caller did not.
        parameters: further ones.
    """

    def __init__(
        self,
        name: str,
        distance: Distance | None,
        miner: Miner | None,
        reducer: Reducer | None,
        parameters: dict[str, Any],
    ) -> None:
        self.distance = distance or CosineDistance()
        self.miner, self.reducer = miner or AllMiner(), reducer or MeanReducer()
        parts = {"distance": self.distance, "miner": self.miner, "reducer": self.reducer}
        super().__init__(name, {**parts, **parameters})

    @property
    def variables(self) -> list[Any]:
        """Those of the miner."""
        return self.miner.variables

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of the batch against itself."""
        return self.between(y_true, y_pred, y_true, y_pred)

    def between(self, labels: Any, embeddings: Any, reference_labels: Any, references: Any) -> Any:
        """Of [n] labels and [n, d] embeddings against [m] and [m, d] references, of which the first n are the batch."""
        embeddings, references = ops.cast(embeddings, "float32"), ops.cast(references, "float32")
        positives, negatives, anchors = masks(labels, reference_labels, own=True)
        distances = self.distance(embeddings, references)
        similarities = self.distance.similarity(embeddings, references)
        pairs = Pairs(distances, similarities, positives, negatives, anchors)
        values, counted = self.of_anchors(pairs, references)
        return self.reducer(values, counted)

    def of_anchors(self, pairs: Pairs, references: Any) -> tuple[Any, Any]:
        """Losses of the anchors, [n] float32, and which of them count, [n] bool: here those with a positive."""
        kept = self.miner.select(pairs)
        return self.formula(kept), any_of(kept.positives)

    def formula(self, pairs: Pairs) -> Any:
        """Loss of each anchor, [n], of the pairs that count."""
        raise NotImplementedError


class ProxyLoss(MetricLoss):
    """A loss against proxies: learned points that stand for the classes.

    Args:
        name: of the loss.
        distance: to the proxies.
        proxies: of each class.
        parameters: further ones.
    """

    def __init__(self, name: str, distance: Distance | None, proxies: int, parameters: dict[str, Any]) -> None:
        self.distance, self._of_each = distance or CosineDistance(), proxies
        super().__init__(name, {"distance": self.distance, **parameters})

    def build(self, dimension: int, classes: int, seed: int) -> None:
        """Draws the proxies: [classes * proxies, dimension], those of a class one after the other."""
        initial = keras.initializers.HeNormal(seed)((classes * self._of_each, dimension), "float32")
        self.proxies = keras.Variable(initial, name=f"{self.name}_proxies", dtype="float32")
        self.classes = classes

    @property
    def trainable_variables(self) -> list[Any]:
        """The proxies."""
        return [self.proxies]


def _plain(value: Any) -> Any:
    return keras.saving.serialize_keras_object(value) if isinstance(value, Configured | MetricLoss) else value


def _object(value: Any) -> Any:
    is_object = isinstance(value, dict) and "class_name" in value
    return keras.saving.deserialize_keras_object(value) if is_object else value
