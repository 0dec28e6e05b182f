"""From the losses of anchors to one number."""

from typing import Any

import keras
from keras import ops

from trainer.configured import Configured
from trainer.pairs import masked_mean


class Reducer(Configured):
    """A way to put the losses of a batch together."""

    def __call__(self, values: Any, counted: Any) -> Any:
        """[n] float32 losses and which of them count, [n] bool -> scalar; 0 where none does."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="ruiji")
class MeanReducer(Reducer):
    """The mean of those that count."""

    def __call__(self, values: Any, counted: Any) -> Any:
        """The mean."""
        return masked_mean(values, counted)


@keras.saving.register_keras_serializable(package="ruiji")
class MeanNonzeroReducer(Reducer):
    """The mean of those that count and are above 0: the loss does not fade as easy anchors become more."""

    def __call__(self, values: Any, counted: Any) -> Any:
        """The mean."""
        return masked_mean(values, ops.logical_and(counted, values > 0.0))


@keras.saving.register_keras_serializable(package="ruiji")
class SumReducer(Reducer):
    """The sum of those that count."""

    def __call__(self, values: Any, counted: Any) -> Any:
        """The sum."""
        return ops.sum(ops.where(counted, values, 0.0))


REDUCERS: dict[str, type[Reducer]] = {"mean": MeanReducer, "mean_nonzero": MeanNonzeroReducer, "sum": SumReducer}
