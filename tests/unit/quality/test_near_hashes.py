"""The search finds exactly the pairs that comparing all with all finds, and ends where there are too many."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_transforms.quality import near_hashes as module
from sim_transforms.quality.near_hashes import MOST_DISTANCE, near_hashes


def _brute_force(hashes: np.ndarray, distance: int) -> list[tuple[int, int]]:
    values = [int(h) for h in hashes]
    pairs = [(i, j) for j in range(len(values)) for i in range(j)]
    return sorted((i, j) for i, j in pairs if (values[i] ^ values[j]).bit_count() <= distance)


def _found(hashes: np.ndarray, distance: int) -> list[tuple[int, int]]:
    near = near_hashes(hashes, distance)
    assert near.whole
    return list(zip(near.left.tolist(), near.right.tolist(), strict=True))


@st.composite
def _clusters(draw: st.DrawFn) -> np.ndarray:
    """Hashes around a few centres, with bits flipped anywhere or in one part alone; in any order, each once."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    width = draw(st.sampled_from((8, 16, 64)))
    flips = st.lists(st.integers(0, width - 1), max_size=12)
    members = draw(st.lists(st.tuples(st.sampled_from(centres), flips), max_size=30))
    values = []
    for centre, bits in members:
        for bit in bits:
            centre ^= 1 << bit
        values.append(centre)
    return np.array(list(dict.fromkeys(values)), np.uint64)


@settings(max_examples=80, deadline=None)
@given(hashes=_clusters(), distance=st.sampled_from((0, 1, 3, 4, 6, 9, MOST_DISTANCE)))
def test_near_hashes_of_any_hashes_are_those_of_brute_force(hashes: np.ndarray, distance: int) -> None:
    assert _found(hashes, distance) == _brute_force(hashes, distance)


@settings(max_examples=25, deadline=None)
@given(hashes=_clusters(), distance=st.sampled_from((0, 2, 4)))
def test_near_hashes_by_further_parts_are_those_of_brute_force(hashes: np.ndarray, distance: int) -> None:
    with mock.patch.object(module, "_FULL", 9):
        assert _found(hashes, distance) == _brute_force(hashes, distance)


@pytest.mark.parametrize("distance", [4, 5, 8, 15])
def test_near_hashes_at_the_distance_are_found_and_beyond_not(distance: int) -> None:
    rng = np.random.default_rng(3)
    at = sum(1 << int(bit) for bit in rng.permutation(64)[:distance])
    beyond = sum(1 << int(bit) for bit in rng.permutation(64)[: distance + 1])
    assert _found(np.array([0, at], np.uint64), distance) == [(0, 1)]
    assert _found(np.array([0, beyond], np.uint64), distance) == []


def test_near_hashes_of_many_random_ones_are_those_that_were_made() -> None:
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 2**63, 30_000).astype(np.uint64))
    copies = hashes[:100] ^ np.uint64(0b1000_0000_0000_0001 << 20)
    near = near_hashes(np.concatenate([hashes, copies]))
    assert near.left.tolist() == list(range(100))
    assert near.right.tolist() == list(range(len(hashes), len(hashes) + 100))


def test_near_hashes_beyond_the_limit_end_and_say_so() -> None:
    near = near_hashes(np.arange(500, dtype=np.uint64), limit=50)
    assert (len(near.left), near.whole) == (50, False)


def test_near_hashes_beyond_the_comparisons_end_and_say_so() -> None:
    with mock.patch.object(module, "MOST_COMPARED", 1000):
        assert not near_hashes(np.arange(5000, dtype=np.uint64)).whole


@pytest.mark.parametrize("distance", [-1, MOST_DISTANCE + 1])
def test_near_hashes_of_other_distances_are_refused(distance: int) -> None:
    with pytest.raises(ValueError, match="distance"):
        near_hashes(np.zeros(0, np.uint64), distance)


def test_near_hashes_of_repeated_hashes_are_refused() -> None:
    with pytest.raises(ValueError, match="more than once"):
        near_hashes(np.array([5, 7, 5], np.uint64))
