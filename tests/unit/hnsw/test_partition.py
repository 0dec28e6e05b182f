"""Cells and their splits."""

import numpy as np
import pytest

from sim_transforms.hnsw.partition import centroid_of, fit_partition, nearest_cells, split_cell
from tests.unit.hnsw.clouds import clustered


def test_fit_partition_few_items_give_their_mean() -> None:
    sample = clustered(50, 6)
    np.testing.assert_array_equal(fit_partition(sample, 50, 100, 0).centroids, centroid_of(sample)[None])


def test_fit_partition_cells_are_about_as_large_as_planned() -> None:
    sample = clustered(3000, 16)
    centroids = fit_partition(sample, 3000, 500, 0).centroids
    sizes = np.bincount(nearest_cells(sample, centroids, 1)[:, 0])
    assert 5 <= len(centroids) <= 15
    assert sizes.min() > 0


def test_fit_partition_are_nearer_than_random_items() -> None:
    sample = clustered(2000, 16)
    centroids = fit_partition(sample, 2000, 200, 0).centroids
    others = sample[: len(centroids)]
    assert _mean_gap(sample, centroids) < 0.7 * _mean_gap(sample, others)


def _mean_gap(sample: np.ndarray, centroids: np.ndarray) -> float:
    own = centroids[nearest_cells(sample, centroids, 1)[:, 0]]
    return float(((sample - own) ** 2).sum(axis=1).mean())


def test_fit_partition_seed_decides_the_bytes() -> None:
    sample = clustered(1000, 8)
    first, again, other = (fit_partition(sample, 1000, 100, seed).centroids.tobytes() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("rows", [0, 1])
def test_fit_partition_sample_of_few_rows_gives_one_cell(rows: int) -> None:
    assert fit_partition(clustered(rows, 4), 1000, 10, 0).centroids.shape == (1, 4)


def test_fit_partition_identical_rows_share_a_centroid_and_are_spread_by_hash() -> None:
    partition = fit_partition(np.ones((500, 3), np.float32), 500, 100, 0)
    np.testing.assert_array_equal(partition.centroids, np.ones((1, 3)))
    groups = partition.groups_of(np.ones((500, 3), np.float32), [str(row) for row in range(500)])
    assert partition.parts.tolist() == [7]
    assert np.bincount(groups, minlength=7).min() >= 40
    assert np.bincount(groups).max() <= 100


def test_fit_partition_one_huge_cluster_is_split_from_the_sample() -> None:
    vectors = np.concatenate([clustered(300, 8), 20 + 0.1 * np.random.default_rng(0).normal(size=(9700, 8))])
    sample = np.ascontiguousarray(vectors[::5], np.float32)
    groups = fit_partition(sample, 10000, 1000, 0).groups_of(vectors.astype(np.float32), [""] * 10000)
    assert np.bincount(groups).max() <= 1300


@pytest.mark.parametrize("dimension", [1, 3, 16, 64])
def test_nearest_cells_match_float64(dimension: int) -> None:
    vectors, centroids = clustered(200, dimension), clustered(9, dimension, seed=5)
    gaps = ((vectors[:, None].astype(float) - centroids[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(nearest_cells(vectors, centroids, 4), np.argsort(gaps, axis=1)[:, :4])


def test_nearest_cells_ties_go_to_the_lower_number() -> None:
    centroids = np.float32([[1, 0], [-1, 0], [1, 0]])
    assert nearest_cells(np.float32([[0, 0], [2, 0]]), centroids, 5).tolist() == [[0, 1, 2], [0, 2, 1]]
    assert nearest_cells(np.float32([[0, 0], [2, 0]]), centroids, 1).tolist() == [[0], [0]]


def test_nearest_cells_one_row_at_a_time_are_the_same() -> None:
    vectors, centroids = clustered(100, 17), clustered(12, 17, seed=3)
    single = np.concatenate([nearest_cells(v[None], centroids, 3) for v in vectors])
    np.testing.assert_array_equal(nearest_cells(vectors, centroids, 3), single)


def test_split_cell_within_the_cap_is_one_part() -> None:
    assert set(split_cell(clustered(30, 4), 30, 0)) == {0}


def test_split_cell_identical_vectors_are_cut_by_position() -> None:
    np.testing.assert_array_equal(split_cell(np.ones((10, 3), np.float32), 4, 0), [0] * 4 + [1] * 4 + [2] * 2)


def test_split_cell_separate_clusters_are_not_mixed() -> None:
    vectors = np.repeat(np.float32([[0, 0], [9, 9]]), 50, axis=0) + clustered(100, 2) * np.float32(0.01)
    parts = split_cell(vectors, 60, 0)
    assert len(set(parts[:50])) == len(set(parts[50:])) == 1
    assert parts[0] != parts[99]


def test_centroid_of_nothing_is_zeros() -> None:
    np.testing.assert_array_equal(centroid_of(np.zeros((0, 3), np.float32)), np.zeros(3))
