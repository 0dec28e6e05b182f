"""Anchors against references: who is near whom, and which pairs count."""

from dataclasses import dataclass, replace
from typing import Any

from keras import ops

# Stands for minus infinity in masked sums of exponentials, without its arithmetic.
_NEVER = -1e9


@dataclass(frozen=True)
class Pairs:
    """All pairs of n anchors with m references.

    Attributes:
        distances: [n, m] float32, small is near.
        similarities: [n, m] float32, large is near.
        positives, negatives: [n, m] bool, which count.
        anchors: [n] bool, those that have a label.
    """

    distances: Any
    similarities: Any
    positives: Any
    negatives: Any
    anchors: Any

    def only(self, positives: Any, negatives: Any) -> "Pairs":
        """The same with fewer pairs that count."""
        return replace(self, positives=positives, negatives=negatives)


def masks(labels: Any, reference_labels: Any, own: bool) -> tuple[Any, Any, Any]:
    """[n], [m] labels -> which pairs are of one class and which of two, [n, m] bool, and which anchors have a label.

    Args:
        labels, reference_labels: class numbers, -1 where there is no label: in no pair.
        own: whether the first n references are the anchors themselves, which are no pairs of their own.
    """
    both = ops.logical_and((labels >= 0)[:, None], (reference_labels >= 0)[None])
    same = ops.equal(labels[:, None], reference_labels[None])
    positives = ops.logical_and(both, same)
    if own:
        rows, columns = ops.arange(ops.shape(labels)[0]), ops.arange(ops.shape(reference_labels)[0])
        positives = ops.logical_and(positives, ops.not_equal(rows[:, None], columns[None]))
    return positives, ops.logical_and(both, ops.logical_not(same)), labels >= 0


def masked_log_sum(exponents: Any, mask: Any, axis: int = 1) -> Any:
    """log of the sum of exp over a mask, about -1e9 where it is empty."""
    return ops.logsumexp(ops.where(mask, exponents, _NEVER), axis=axis)


def log_one_plus_sum(exponents: Any, mask: Any) -> Any:
    """[n]: log(1 + sum of exp over a mask's row), 0 where it is empty."""
    masked = ops.where(mask, exponents, _NEVER)
    return ops.logsumexp(ops.concatenate([masked, ops.zeros_like(masked[:, :1])], axis=1), axis=1)


def masked_mean(values: Any, mask: Any, axis: int | None = None) -> Any:
    """Mean over a mask, 0 where it is empty."""
    weights = ops.cast(mask, "float32")
    # The values of what is masked out may be huge: they must not meet a factor of 0.
    total = ops.sum(ops.where(mask, values, 0.0), axis=axis)
    return total / ops.maximum(ops.sum(weights, axis=axis), 1.0)


def any_of(mask: Any) -> Any:
    """[n, m] -> [n], whether a row has one."""
    return ops.any(mask, axis=1)
