"""NT-Xent, the loss of SimCLR (Chen et al. 2020, "A Simple Framework for Contrastive Learning")."""

from typing import Any

from keras import ops


def nt_xent(first: Any, second: Any, temperature: float) -> Any:
    """Mean cross entropy of finding each view's other view among all views of the batch.

    Args:
        first, second: [b, d] float, unit length; row i of both are views of the same item.
        temperature: above 0.

    Returns:
        Scalar.
    """
    count = ops.shape(first)[0]
    views = ops.concatenate([first, second], axis=0)
    logits = ops.matmul(views, ops.transpose(views)) / temperature
    logits = ops.where(ops.eye(2 * count, dtype="bool"), -1e9, logits)
    other = ops.concatenate([ops.arange(count, 2 * count), ops.arange(count)], axis=0)
    chosen = ops.take_along_axis(logits, ops.expand_dims(other, 1), axis=1)[:, 0]
    return ops.mean(ops.logsumexp(logits, axis=1) - chosen)
