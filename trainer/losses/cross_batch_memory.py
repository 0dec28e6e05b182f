"""Cross-batch memory (Wang et al. 2020, XBM): embeddings of past batches as further references of a loss of pairs."""

from typing import Any

import keras
from keras import ops

from trainer.losses.metric_loss import MetricLoss, PairLoss

# One device writes: all have gathered the same vectors.
_WRITTEN = {"trainable": False, "aggregation": "only_first_replica"}


@keras.saving.register_keras_serializable(package="ruiji")
class CrossBatchMemory(MetricLoss):
    """A loss whose references are the batch and the last `size` embeddings before it.

    Past embeddings are those of a network some steps ago; they have no gradient. Empty places have the label -1 and are
    in no pair.

    Args:
        loss: of pairs.
        size: embeddings that are kept.
    """

    def __init__(self, loss: PairLoss, size: int) -> None:
        super().__init__(f"{loss.name}_memory", {"loss": loss, "size": size})
        self.loss, self._size = loss, size

    def build(self, dimension: int, classes: int, seed: int) -> None:
        """Makes an empty queue."""
        self.loss.build(dimension, classes, seed)
        self.embeddings = keras.Variable(ops.zeros((self._size, dimension)), name="memory", **_WRITTEN)
        self.labels = keras.Variable(ops.full((self._size,), -1, "int32"), dtype="int32", name="labels", **_WRITTEN)

    @property
    def variables(self) -> list[Any]:
        """The queue, and those of the loss."""
        return [self.embeddings, self.labels, *self.loss.variables]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of the batch; puts it into the queue afterwards, the oldest fall out."""
        vectors, labels = ops.cast(y_pred, "float32"), ops.cast(y_true, "int32")
        past, past_labels = ops.convert_to_tensor(self.embeddings), ops.convert_to_tensor(self.labels)
        whole = ops.concatenate([vectors, ops.stop_gradient(past)], axis=0)
        whole_labels = ops.concatenate([labels, past_labels], axis=0)
        value = self.loss.between(labels, vectors, whole_labels, whole)
        self.embeddings.assign(ops.stop_gradient(whole[: self._size]))
        self.labels.assign(whole_labels[: self._size])
        return value
