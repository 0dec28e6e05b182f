"""What each space does to vectors and distances."""

import numpy as np
import pytest

from sim_transforms.errors import UsageError
from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.spaces import SPACES, space_of
from tests.unit.hnsw.clouds import clustered, wide_distances


@pytest.mark.parametrize("name", SPACES)
def test_native_distances_equal_what_nmslib_answers(name: str) -> None:
    space = space_of(name)
    base, query = space.prepare(clustered(60, 13)), space.prepare(clustered(1, 13, seed=1))
    index = nmslib.init(method="brute_force", space=space.nmslib_space)
    index.addDataPointBatch(base)
    index.createIndex()
    rows, distances = index.knnQuery(query[0], k=60)
    # NMSLIB's own `l2` answers with the root where it is not the optimised HNSW, which answers with the square.
    native = space.native_distances(query, base)[0, rows]
    np.testing.assert_allclose(native if name == "inner_product" else np.sqrt(native), distances, atol=2e-3)


@pytest.mark.parametrize("name", SPACES)
def test_native_distances_match_float64(name: str) -> None:
    a, b = (space_of(name).prepare(clustered(30, 16, seed=s)) for s in (1, 2))
    np.testing.assert_allclose(space_of(name).native_distances(a, b), wide_distances(name, a, b), atol=1e-3)


def test_native_distances_of_equal_vectors_are_never_negative() -> None:
    vectors = clustered(50, 31) * np.float32(37)
    assert space_of("l2").native_distances(vectors, vectors).min() >= 0


def test_to_distances_cosine_is_one_minus_the_cosine() -> None:
    space, raw = space_of("cosine"), clustered(20, 8)
    unit = space.prepare(raw)
    cosine = (raw @ raw.T) / np.linalg.norm(raw, axis=1)[:, None] / np.linalg.norm(raw, axis=1)[None]
    np.testing.assert_allclose(space.to_distances(space.native_distances(unit, unit)), 1 - cosine, atol=1e-5)


def test_to_distances_l2_is_euclidean() -> None:
    np.testing.assert_array_equal(space_of("l2").to_distances(np.float32([0, 4, 9])), np.float32([0, 2, 3]))


def test_prepare_cosine_does_not_depend_on_batches() -> None:
    vectors = clustered(40, 33)
    one_by_one = np.concatenate([space_of("cosine").prepare(v[None]) for v in vectors])
    assert space_of("cosine").prepare(vectors).tobytes() == one_by_one.tobytes()


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.0, 1e20, 1e37])
def test_prepare_cosine_extreme_lengths_become_unit(scale: float) -> None:
    prepared = space_of("cosine").prepare((clustered(10, 5) * scale).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(prepared, axis=1), 1, atol=1e-6)


def test_reject_reasons_name_only_what_the_space_cannot_hold() -> None:
    vectors = np.float32([[1, 2], [0, 0], [np.nan, 1], [np.inf, 0], [0, np.nan]])
    bad = ["not_finite"] * 3
    assert space_of("cosine").reject_reasons(vectors) == [None, "zero_vector", *bad]
    assert space_of("l2").reject_reasons(vectors) == [None, None, *bad]


def test_space_of_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match="'hamming'; one of cosine, l2, inner_product"):
        space_of("hamming")
