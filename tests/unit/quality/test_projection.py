"""Places in the plane keep neighbours together, and are the same each time."""

import numpy as np
import pytest

from sim_transforms.quality.projection import LEAST, project

_GROUPS = 4


@pytest.fixture(scope="module")
def grouped() -> tuple[np.ndarray, np.ndarray]:
    """Vectors around four centres, and which each is of; a tenth of them are the same vector."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(_GROUPS), 60)
    centres = rng.normal(size=(_GROUPS, 16)) * 4
    vectors = (centres[groups] + rng.normal(size=(240, 16)) * 0.3).astype(np.float32)
    vectors[40:60] = vectors[40]
    return vectors, groups


@pytest.mark.parametrize("space", ["cosine", "inner_product"])
def test_project_keeps_neighbours_together(grouped: tuple[np.ndarray, np.ndarray], space: str) -> None:
    vectors, groups = grouped
    places = project(vectors, space)
    assert places is not None
    assert places.shape == (240, 2)
    assert np.isfinite(places).all()
    assert (places.min(), places.max()) == (pytest.approx(0.0), pytest.approx(1.0))
    squares = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    assert (groups[squares.argmin(axis=1)] == groups).mean() > 0.97


def test_project_twice_gives_the_same_places(grouped: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (project(grouped[0], "l2", seed=5) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "vectors",
    [
        np.random.default_rng(0).normal(size=(LEAST - 1, 4)),
        np.random.default_rng(0).normal(size=(LEAST, 1)),
        np.ones((LEAST, 4)),
        np.zeros((0, 4)),
    ],
    ids=["few", "one dimension", "all the same", "none"],
)
def test_project_of_what_has_no_neighbourhoods_is_null(vectors: np.ndarray) -> None:
    assert project(vectors.astype(np.float32), "l2") is None
