"""Cross entropy of logits against a mask, for losses of proxies."""

from typing import Any

from keras import ops


def own_class(labels: Any, classes: int) -> Any:
    """[b] class numbers, -1 for none -> [b, classes] bool, each item's own class."""
    return ops.equal(labels[:, None], ops.cast(ops.arange(classes), labels.dtype)[None])


def cross_entropy(logits: Any, is_own: Any) -> Any:
    """[b, classes] logits and [b, classes] bool with at most one a row -> [b]; 0 where a row has none."""
    chosen = ops.sum(ops.where(is_own, logits, 0.0), axis=1)
    return ops.where(ops.any(is_own, axis=1), ops.logsumexp(logits, axis=1) - chosen, 0.0)
