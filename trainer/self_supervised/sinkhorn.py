"""Equal shares by the Sinkhorn-Knopp algorithm (Cuturi 2013; as SwAV uses it)."""

from typing import Any

from keras import ops


def sinkhorn(logits: Any, epsilon: float, iterations: int) -> Any:
    """Assignments of items to prototypes that use all prototypes alike.

    In logarithms, so that no exponential leaves the range of float32.

    Args:
        logits: [b, k] float32, similarities.
        epsilon: entropy of the assignments; towards 0 they are hard.
        iterations: of both normalisations.

    Returns:
        [b, k] float32, rows of sum 1, columns near b / k.
    """
    logs = logits / epsilon
    for _ in range(iterations):
        logs = logs - ops.logsumexp(logs, axis=0, keepdims=True)
        logs = logs - ops.logsumexp(logs, axis=1, keepdims=True)
    return ops.exp(logs)
