"""SimCLR (Chen et al. 2020, "A Simple Framework for Contrastive Learning"): NT-Xent on the embeddings themselves."""

from typing import Any

from keras import ops

from trainer.self_supervised.objective import ViewObjective


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


class SimClr(ViewObjective):
    """`nt_xent` of the two views; no head, because what it shapes is what is searched."""

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__("simclr")
        self.temperature = temperature

    def call(self, vectors: list[Any], features: list[Any]) -> Any:
        """The loss."""
        first, second = vectors
        return nt_xent(first, second, self.temperature)
