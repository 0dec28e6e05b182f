"""Spaces: what is done to vectors before they are indexed, what NMSLIB is told, what its distances mean.

`cosine` is built as `l2` on unit vectors: the same order of neighbours, a third faster than NMSLIB's own `cosinesimil`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.errors import UsageError

Array = np.ndarray[Any, Any]

# Largest squared length of a vector whose distances to others of that kind stay finite in float32: a length of 2^62.
# Infinite ones, and NaN, which their differences give, have no order, and NMSLIB sorts them all the same.
MOST_SQUARES = 2.0**124


@dataclass(frozen=True)
class Space:
    """A space.

    Attributes:
        name: cosine, l2 or inner_product.
        nmslib_space: `l2` (squared Euclidean) or `negdotprod` (minus the inner product).
    """

    name: str
    nmslib_space: str

    @property
    def is_inner_product(self) -> bool:
        """Whether native distances are minus inner products."""
        return self.nmslib_space == "negdotprod"

    def prepare(self, vectors: Array) -> Array:
        """[n, d] -> [n, d] float32, contiguous, of unit length in `cosine` (a zero vector stays zero)."""
        if self.name != "cosine":
            return np.ascontiguousarray(vectors, dtype=np.float32)
        wide = np.asarray(vectors, dtype=np.float64)
        # Scaling first keeps squares of very long and very short vectors within range.
        largest = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
        wide = wide / np.where(largest > 0, largest, 1.0)
        norms = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        return np.ascontiguousarray(wide / np.where(norms > 0, norms, 1.0), dtype=np.float32)

    def places(self, vectors: Array) -> Array:
        """[n, d] prepared vectors -> where the partition sees them: directions alone in `inner_product`.

        The largest products with a query are with long vectors of its direction, however long: shards are sectors.
        """
        return SPACES["cosine"].prepare(vectors) if self.is_inner_product else vectors

    def reject_reasons(self, vectors: Array) -> list[str | None]:
        """For each of n vectors null, `not_finite`, in `cosine` `zero_vector`, in the others `too_long`."""
        finite = np.isfinite(vectors).all(axis=1)
        zero = ~np.asarray(vectors).any(axis=1)
        reasons: list[str | None] = [None] * len(vectors)
        for row in np.flatnonzero(zero) if self.name == "cosine" else ():
            reasons[row] = "zero_vector"
        for row in np.flatnonzero(too_long(vectors)) if self.name != "cosine" else ():
            reasons[row] = "too_long"
        for row in np.flatnonzero(~finite):
            reasons[row] = "not_finite"
        return reasons

    def to_distances(self, native: Array) -> Array:
        """What NMSLIB says -> what the commands show: cosine = 1 - cos, l2 = Euclidean, minus the product."""
        if self.name == "cosine":
            return np.asarray(native, np.float32) / np.float32(2)
        if self.name == "l2":
            return np.sqrt(np.maximum(native, 0)).astype(np.float32)
        return np.asarray(native, np.float32)

    def native_distances(self, queries: Array, base: Array) -> Array:
        """[q, d] and [n, d] float32 -> [q, n] float32, by one matrix product."""
        if self.is_inner_product:
            return -(queries @ base.T)
        if self.name == "l2" and len(base):
            # Far from the origin |q|^2 - 2 qb + |b|^2 cancels to noise: at an offset of 1,000 a spread of 1 is lost.
            centre = np.add.reduce(base.astype(np.float64), axis=0) / len(base)
            queries, base = (queries - centre).astype(np.float32), (base - centre).astype(np.float32)
        product = queries @ base.T
        squares = (queries * queries).sum(axis=1)[:, None] + (base * base).sum(axis=1)[None, :]
        return np.maximum(squares - np.float32(2) * product, np.float32(0))


def too_long(vectors: Array) -> Array:
    """[n] bool: which of [n, d] vectors are not finite, or longer than distances in float32 allow."""
    with np.errstate(over="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.asarray(~(squares <= MOST_SQUARES))


def longest_of(vectors: Array) -> float:
    """Length of the longest of [n, d] vectors, 0 where n is 0."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return float(np.sqrt(squares.max(initial=0.0)))


SPACES = {
    "cosine": Space("cosine", "l2"),
    "l2": Space("l2", "l2"),
    "inner_product": Space("inner_product", "negdotprod"),
}


def space_of(name: str) -> Space:
    """The space called `name`; raises UsageError for any other name."""
    if name not in SPACES:
        raise UsageError(f"space: found {name!r}; one of {', '.join(SPACES)} is expected")
    return SPACES[name]
