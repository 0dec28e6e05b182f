"""Whether a new model may take the place of the one in use: both on the same items, by one metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of a class of fewer queries a change says nothing.
_FEW = 5


@dataclass(frozen=True)
class ClassChange:
    """Means of a class's queries under the old and the new model."""

    label: str
    old: float
    new: float
    queries: int


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    accepted: whether the new model is at most the margin worse.
    old, new: means over the queries.
    low, high: 95 % interval of new - old, over draws of the same queries for both (paired bootstrap, seeded).
    worse: classes whose mean fell, those that fell most first.
    """

    accepted: bool
    old: float
    new: float
    low: float
    high: float
    worse: tuple[ClassChange, ...]


def judge(
    old: NDArray[np.float64], new: NDArray[np.float64], labels: Sequence[str], margin: float, draws: int = 1000
) -> Verdict:
    """Compares scores of the same queries.

    Args:
        old, new: [q] scores, large is good.
        labels: of the queries.
        margin: by how much the new mean may be worse.
        draws: of the bootstrap.

    Raises:
        ValueError: no queries, or other numbers of them.
    """
    if not len(old) or not len(old) == len(new) == len(labels):
        raise ValueError(
            f"found {len(old)} and {len(new)} scores and {len(labels)} labels; as many, and some, are expected"
        )
    difference = new - old
    generator = np.random.default_rng(0)
    means = [difference[generator.integers(0, len(difference), len(difference))].mean() for _ in range(draws)]
    low, high = np.quantile(means, (0.025, 0.975))
    accepted = bool(difference.mean() >= -margin - 1e-12)
    return Verdict(
        accepted, float(old.mean()), float(new.mean()), float(low), float(high), _worse(old, new, np.array(labels))
    )


def _worse(old: NDArray[np.float64], new: NDArray[np.float64], labels: NDArray[np.str_]) -> tuple[ClassChange, ...]:
    changes = []
    for label in np.unique(labels):
        of_class = labels == label
        change = ClassChange(str(label), float(old[of_class].mean()), float(new[of_class].mean()), int(of_class.sum()))
        if change.new < change.old and change.queries >= _FEW:
            changes.append(change)
    return tuple(sorted(changes, key=lambda change: (change.new - change.old, change.label)))
