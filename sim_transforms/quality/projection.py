"""Vectors -> places in the plane, by UMAP (McInnes, Healy, Melville 2018, arXiv:1802.03426): what is near stays near.

For people to look at, not to measure by: distances between far groups, and the sizes of groups, mean little.
"""

import contextlib
import io
import warnings
from typing import Any

import numpy as np

from sim_transforms.hnsw.spaces import space_of
from sim_transforms.quality.exact import exact_neighbors

Array = np.ndarray[Any, Any]

# Of each item; below LEAST items there are no neighbourhoods to keep.
NEIGHBORS = 15
LEAST = 200


def project(vectors: Array, space: str, seed: int = 0) -> Array | None:
    """Places that keep neighbours together.

    Args:
        vectors: [n, d] float32.
        space: `cosine`, `l2` or `inner_product`; products are compared by direction.
        seed: of UMAP's descent; one thread, so that the same vectors give the same places.

    Returns:
        [n, 2] float64 from 0 to 1, of one scale on both axes; null of fewer than LEAST vectors, of one dimension, or
        where all vectors are the same.
    """
    if len(vectors) < LEAST or vectors.shape[1] < 2:
        return None
    prepared = space_of("l2" if space == "l2" else "cosine").prepare(np.asarray(vectors, np.float32))
    if not np.ptp(prepared, axis=0).any():
        return None
    rows, squares = exact_neighbors(prepared, prepared, NEIGHBORS, "l2")
    places = _descend(prepared, _itself_first(rows), np.sqrt(np.maximum(squares, 0.0)), seed)
    low, extent = places.min(axis=0), float(np.ptp(places, axis=0).max())
    if not np.isfinite(places).all() or extent == 0.0:
        return None
    centred = (places - low - np.ptp(places, axis=0) / 2) / extent + 0.5
    return np.asarray(centred, np.float64)


def _itself_first(rows: Array) -> Array:
    """[n, k] with each row's own number first, which vectors that are the same may have moved or pushed out."""
    own = np.arange(len(rows))
    first = np.where((rows == own[:, None]).any(axis=1), np.argmax(rows == own[:, None], axis=1), rows.shape[1] - 1)
    kept = np.ones(rows.shape, bool)
    kept[own, first] = False
    return np.concatenate([own[:, None], rows[kept].reshape(len(rows), -1)], axis=1).astype(np.int64)


def _descend(vectors: Array, rows: Array, distances: Array, seed: int) -> Array:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # It says what it takes from what is given, and imports what it does not need.
        warnings.simplefilter("ignore")
        from umap.umap_ import UMAP

        model = UMAP(
            n_neighbors=rows.shape[1],
            min_dist=0.4,
            spread=1.5,
            init="pca",
            precomputed_knn=(rows, distances.astype(np.float32)),
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(vectors), np.float64)
