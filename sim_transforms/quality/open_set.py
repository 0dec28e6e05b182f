"""The open-set test: does search answer "no match" where nothing in the gallery is of a query's class?

Classes are held out of the gallery in turn, a fold at a time, and their queries asked: each query is asked once with
its class and once without. How near the nearest item is must tell the two apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from sim_transforms.hnsw.spaces import space_of
from sim_transforms.quality.exact import Floats, exact_neighbors

_FOLDS = 10


@dataclass(frozen=True)
class OpenSet:
    """Nearest items of the queries, with their class in the gallery and without it.

    Attributes:
        rows: [s] queries that were asked both ways: the gallery holds their class, and another one.
        right: [s] whether the nearest item, with the class there, is of it.
        present: [s] float64 distance of the nearest item, with the class there.
        absent: [s] the same, of the gallery without the classes of the query's fold.
    """

    rows: NDArray[np.int64]
    right: NDArray[np.bool_]
    present: NDArray[np.float64]
    absent: NDArray[np.float64]

    def part(self, chosen: NDArray[np.int64]) -> Self:
        """Those of some queries, by row."""
        kept = np.isin(self.rows, chosen)
        return type(self)(self.rows[kept], self.right[kept], self.present[kept], self.absent[kept])

    def scores(self, max_distance: float | None) -> dict[str, float]:
        """What a threshold of the nearest item's distance does.

        Args:
            max_distance: of a match; null for none.

        Returns:
            `queries`; `auroc`, the chance that a query with its class in the gallery is nearer than one without; with a
            threshold also `answered`, the share of the queries with their class in the gallery that get an answer,
            `right`, the share that get one of their class, and `refused`, the share of those without their class that
            get none. All 0 without queries.
        """
        count = len(self.rows)
        found = {"queries": float(count), "auroc": self._auroc() if count else 0.0}
        if max_distance is None:
            return found
        answered = self.present <= max_distance
        shares = {"answered": answered, "right": answered & self.right, "refused": self.absent > max_distance}
        return found | {name: float(each.mean()) if count else 0.0 for name, each in shares.items()}

    def _auroc(self) -> float:
        truth = np.repeat((True, False), len(self.rows))
        return float(roc_auc_score(truth, -np.concatenate([self.present, self.absent])))


def open_set(
    queries: Floats, query_labels: Sequence[str], gallery: Floats, gallery_labels: Sequence[str], space: str
) -> OpenSet:
    """Asks each query with its class in the gallery and without it.

    With up to ten classes each is held out alone; of more, every tenth by name is held out together. Exact search, in
    blocks; the gallery is searched twice for each query.

    Args:
        queries: [q, d] float32.
        query_labels: q labels.
        gallery: [g, d] float32.
        gallery_labels: g labels.
        space: `cosine`, `l2` or `inner_product`; distances are as the commands show them.

    Returns:
        Queries of classes that the gallery does not hold are left out, and all where it holds one class alone.
    """
    asked, offered = np.asarray(query_labels, dtype=str), np.asarray(gallery_labels, dtype=str)
    names, numbers = np.unique(offered, return_inverse=True)
    rows = np.flatnonzero(np.isin(asked, names)) if len(names) > 1 else np.zeros(0, np.int64)
    if not len(rows):
        return OpenSet(rows, np.zeros(0, bool), np.zeros(0), np.zeros(0))
    near, present = exact_neighbors(queries[rows], gallery, 1, space)
    folds, of_query = min(_FOLDS, len(names)), np.searchsorted(names, asked[rows])
    absent = np.empty(len(rows))
    for fold in range(folds):
        held_out = of_query % folds == fold
        if held_out.any():
            others = gallery[numbers % folds != fold]
            absent[held_out] = _distances(exact_neighbors(queries[rows[held_out]], others, 1, space)[1], space)
    return OpenSet(rows, offered[near[:, 0]] == asked[rows], _distances(present, space), absent)


def _distances(native: Floats, space: str) -> NDArray[np.float64]:
    """[q, 1] native -> [q] as the commands show them."""
    return space_of(space).to_distances(native[:, 0]).astype(np.float64)
