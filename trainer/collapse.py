"""Whether embeddings still tell items apart: their spread, the dimensions they use, and a k-NN probe, by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim_transforms.errors import Collapsed
from sim_transforms.quality.exact import exact_neighbors

Array = np.ndarray[Any, Any]

# Unit vectors at random directions have a spread of 1; below these two all items look into one direction: at once, or
# over some epochs, as the batch normalisation's moving statistics need a while to settle.
_DEAD, _FLAT = 1e-3, 0.05
# One dimension more than none: two points.
_LEAST_RANK = 1.5
# A view that finds its other view no more often than by chance; so many times as often is expected.
_TIMES_CHANCE = 3.0
# Beside the weights before training: views that find each other half as often; or a third of the dimensions, while
# views hardly find each other more often. Measured on digits: before 0.35 and 75 dimensions; after 600 steps healthy
# trainings have 0.41 to 0.96 and 35 to 67 dimensions; BYOL without its predictor, and with a target whose batch
# normalisation stood still, had 0.36 and 11 to 17.
_OF_BEFORE, _RANK_OF_BEFORE, _HARDLY_MORE = 0.5, 0.33, 1.5
_EPOCHS = 2
_ADVICE = "lower train.learning_rate, train longer, or choose another train.self_supervised or train.loss"


def spread(vectors: Array) -> float:
    """Root of the sum over the dimensions of the variance of [n, d]: of unit vectors from 0 (one point) to 1."""
    return float(np.sqrt(vectors.astype(np.float64).var(axis=0).sum()))


def effective_rank(vectors: Array) -> float:
    """exp of the entropy of the normalised singular values of centred [n, d], from 1 to d (Roy & Vetterli 2007)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values = np.linalg.eigvalsh(centred.T @ centred)
    singular = np.sqrt(np.maximum(values, 0.0))
    if singular.sum() <= 1e-12:
        return 1.0
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def view_agreement(first: Array, second: Array) -> float:
    """Share of the rows of [n, d] whose nearest row of the other views [n, d] is the view of the same item."""
    nearest = exact_neighbors(first, second, 1, "cosine")[0][:, 0]
    return float(np.mean(nearest == np.arange(len(first))))


def check_finite(vectors: Array) -> None:
    """Raises Collapsed for embeddings that are no numbers: nothing can be measured of them."""
    if not np.isfinite(vectors).all():
        raise Collapsed(f"training: the embeddings are no finite numbers any more; {_ADVICE}")


def collapse_figures(vectors: Array, agreement: float | None) -> dict[str, float]:
    """`spread`, `effective_rank`, and `knn_probe` where agreement is given."""
    figures = {"spread": spread(vectors), "effective_rank": effective_rank(vectors)}
    return figures if agreement is None else figures | {"knn_probe": agreement}


class CollapseWatch:
    """Looks at the validation items after every epoch.

    Args:
        labelled: whether a metric loss trains: then few classes may well lie in few dimensions.
    """

    def __init__(self, labelled: bool) -> None:
        self._labelled = labelled
        self._before: Mapping[str, float] = {}
        self._seen: list[Mapping[str, float]] = []

    def begin(self, before: Mapping[str, float], seen: Sequence[Mapping[str, float]]) -> None:
        """Takes over what is known.

        Args:
            before: figures of the weights before training; none with labels.
            seen: figures of the epochs before a kill.
        """
        self._before, self._seen = before, list(seen)

    def look(self, vectors: Array, agreement: float | None) -> dict[str, float]:
        """Figures of an epoch.

        Args:
            vectors: [n, d] float32, unit length.
            agreement: of two views (`view_agreement`), where no labels tell more.

        Returns:
            As `collapse_figures`.

        Raises:
            Collapsed: nothing tells the items apart any more.
        """
        check_finite(vectors)
        figures = collapse_figures(vectors, agreement)
        self._seen.append(figures)
        if figures["spread"] < _DEAD:
            raise Collapsed(
                f"training: the spread of the embeddings is {figures['spread']:.2g}, of at most 1; {_ADVICE}"
            )
        last = self._seen[-_EPOCHS:]
        if len(last) == _EPOCHS:
            self._judge(last, len(vectors))
        return figures

    def _judge(self, last: Sequence[Mapping[str, float]], count: int) -> None:
        wanted = {"spread": _FLAT}
        if not self._labelled:
            wanted |= {"effective_rank": _LEAST_RANK, "knn_probe": min(0.5, _TIMES_CHANCE / count)}
        if self._before:
            probe, rank = self._before["knn_probe"], self._before["effective_rank"]
            wanted["knn_probe"] = max(wanted["knn_probe"], _OF_BEFORE * probe)
            hardly = min(_HARDLY_MORE * probe, (1.0 + probe) / 2.0)
            if all(figures["knn_probe"] < hardly for figures in last):
                wanted["effective_rank"] = max(_LEAST_RANK, _RANK_OF_BEFORE * rank)
        for name, least in wanted.items():
            found = [figures[name] for figures in last if name in figures]
            if len(found) == len(last) and max(found) < least:
                raise Collapsed(
                    f"training has collapsed: {name} of the validation items is {found[-1]:.3g}, and was below "
                    f"{least:.3g} for {len(last)} epochs; {_ADVICE}"
                )
