"""Exact neighbours agree with a comparison of all pairs in float64, whatever the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_transforms.errors import UsageError
from sim_transforms.quality.exact import exact_neighbors


def _vectors(seed: int, rows: int, dimension: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


def _native(queries: np.ndarray, base: np.ndarray, space: str) -> np.ndarray:
    q, b = queries.astype(np.float64), base.astype(np.float64)
    if space == "inner_product":
        return -(q @ b.T)
    if space == "cosine":
        q, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, b))
    return ((q[:, None] - b[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize("space", ["cosine", "l2", "inner_product"])
def test_exact_neighbors_in_each_space_equal_brute_force(space: str) -> None:
    queries, base = _vectors(0, 300), _vectors(1, 500)
    truth = _native(queries, base, space)
    expected = np.argsort(truth, axis=1, kind="stable")[:, :10]
    rows, distances = exact_neighbors(queries, base, 10, space, block=64)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(distances, np.take_along_axis(truth, expected, axis=1), atol=2e-5)
    assert (rows.dtype, distances.dtype) == (np.int32, np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 50), st.integers(0, 99))
def test_exact_neighbors_of_grid_points_break_ties_by_row(items: int, k: int, block: int, seed: int) -> None:
    """Small whole numbers are exact in float32, so that many distances are truly equal."""
    generator = np.random.default_rng(seed)
    queries, base = (generator.integers(0, 3, (n, 2)).astype(np.float32) for n in (5, items))
    rows, _ = exact_neighbors(queries, base, k, "l2", block=block)
    np.testing.assert_array_equal(rows, np.argsort(_native(queries, base, "l2"), axis=1, kind="stable")[:, :k])


def test_exact_neighbors_of_fewer_items_than_k_give_all() -> None:
    rows, distances = exact_neighbors(_vectors(0, 2), _vectors(1, 3), 10, "l2")
    assert rows.shape == distances.shape == (2, 3)


def test_exact_neighbors_without_queries_are_empty() -> None:
    assert exact_neighbors(_vectors(0, 0), _vectors(1, 3), 2, "l2")[0].shape == (0, 2)


def test_exact_neighbors_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 6\).*\(3, 5\)"):
        exact_neighbors(_vectors(0, 2), _vectors(1, 3, 5), 2, "l2")


def test_exact_neighbors_without_k_are_refused() -> None:
    with pytest.raises(ValueError, match="found 0"):
        exact_neighbors(_vectors(0, 2), _vectors(1, 3), 0, "l2")


def test_exact_neighbors_in_an_unknown_space_are_refused() -> None:
    with pytest.raises(UsageError, match="hamming"):
        exact_neighbors(_vectors(0, 2), _vectors(1, 3), 1, "hamming")


@pytest.mark.parametrize(("offset", "spread"), [(1000, 1.0), (200, 5.0), (0, 1e-3)])
def test_exact_neighbors_far_from_the_origin_equal_brute_force(offset: int, spread: float) -> None:
    """Without care |q|^2 - 2 qb + |b|^2 cancels to noise there."""
    base = _vectors(0, 800, 32) * np.float32(spread) + np.float32(offset)
    queries = base[:100] + _vectors(1, 100, 32) * np.float32(spread / 10)
    truth = _native(queries, base, "l2")
    expected = np.argsort(truth.astype(np.float32), axis=1, kind="stable")[:, :10]
    rows, distances = exact_neighbors(queries, base, 10, "l2", block=300)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(distances, np.take_along_axis(truth, expected, axis=1), rtol=1e-6)


@pytest.mark.parametrize("space", ["cosine", "l2", "inner_product"])
def test_exact_neighbors_in_blocks_of_any_size_are_the_same_bits(space: str) -> None:
    queries, base = _vectors(0, 40, 33), np.repeat(_vectors(1, 50, 33), 3, axis=0)
    rows, distances = exact_neighbors(queries, base, 7, space, block=1000)
    for block in (1, 13, 64):
        again = exact_neighbors(queries, base, 7, space, block=block)
        assert (again[0].tobytes(), again[1].tobytes()) == (rows.tobytes(), distances.tobytes())


def test_exact_neighbors_of_duplicates_are_the_first_of_them() -> None:
    vectors = np.tile(_vectors(0, 1, 31), (37, 1))
    rows, distances = exact_neighbors(vectors, vectors, 5, "cosine", block=10)
    np.testing.assert_array_equal(rows, np.tile(np.arange(5), (37, 1)))
    assert not distances.any()
