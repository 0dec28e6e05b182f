"""The index in memory: exact, grows as it is added to, refuses what does not go together."""

import numpy as np
import pytest

from sim_transforms.errors import NotFound, UsageError
from sim_transforms.lookup.memory import MemoryIndex


def _distance(space: str, query: np.ndarray, vector: np.ndarray) -> float:
    if space == "cosine":
        return float(1 - query @ vector / (np.linalg.norm(query) * np.linalg.norm(vector)))
    return float(np.linalg.norm(query - vector)) if space == "l2" else float(-(query @ vector))


@pytest.mark.parametrize("space", ["cosine", "l2", "inner_product"])
def test_search_is_exact_however_items_were_added(space: str) -> None:
    generator = np.random.default_rng(0)
    vectors, queries = generator.standard_normal((300, 6)), generator.standard_normal((7, 6))
    index = MemoryIndex(6, space)
    for start in range(0, 300, 70):
        assert index.add(vectors[start : start + 70]) == [str(n) for n in range(start, min(300, start + 70))]
    assert len(index) == 300
    for query, matches in zip(queries, index.search(queries, 9), strict=True):
        exact = [_distance(space, query, vector) for vector in vectors]
        assert [int(match.item_id) for match in matches] == np.argsort(exact)[:9].tolist()
        np.testing.assert_allclose([match.distance for match in matches], np.sort(exact)[:9], atol=1e-5)


def test_item_of_an_id_that_is_there_takes_its_place() -> None:
    index = MemoryIndex(2, "l2")
    index.add([[0, 0], [5, 5]], ["a", "b"], [{"colour": "red"}, {"colour": "blue"}])
    index.add([9, 9], ["a"], [{"colour": "green"}])
    assert (len(index), "a" in index, "c" in index) == (2, True, False)
    (matches,) = index.search(np.array([9, 9]), 5)
    nearest = matches[0]
    assert (nearest.item_id, nearest.distance, nearest.metadata) == ("a", 0.0, {"colour": "green"})
    assert index.vector("b").tolist() == [5, 5]


@pytest.mark.parametrize("space", ["cosine", "l2"])
def test_items_are_at_no_distance_from_themselves_and_near_ones_are_told_apart(space: str) -> None:
    vectors = np.random.default_rng(1).standard_normal((500, 64)).astype(np.float32)
    near = vectors[3] + np.float32(1e-4) * vectors[4]
    index = MemoryIndex(64, space)
    index.add(vectors)
    for number, (match, *_) in enumerate(index.search(vectors[:50], 2)):
        assert (match.item_id, match.distance) == (str(number), 0.0)
    first, second = index.search(near, 2)[0]
    assert first.item_id == "3"
    assert first.distance < second.distance


def test_numbers_never_take_the_place_of_an_item() -> None:
    index = MemoryIndex(2, "l2")
    index.add([[0, 0]], ids=["1"])
    with pytest.raises(UsageError, match="'1', the next number, is an item already"):
        index.add([[1, 1]])
    assert len(index) == 1


def test_nothing_is_found_in_nothing_and_equals_in_their_order() -> None:
    index = MemoryIndex(3)
    assert index.search(np.ones((2, 3))) == [[], []]
    index.add(np.ones((4, 3)), ["d", "c", "b", "a"])
    assert [match.item_id for match in index.search(np.ones(3), 3)[0]] == ["d", "c", "b"]


@pytest.mark.parametrize(
    ("vectors", "given", "message"),
    [
        (np.ones((2, 4)), {}, r"\[n, 3\] is expected"),
        (np.ones((1, 1, 3)), {}, r"\[n, 3\] is expected"),
        (np.array([[1, 1, 1], [0, 0, 0]]), {}, "row 1: zero_vector"),
        (np.array([[1, np.nan, 1]]), {}, "row 0: not_finite"),
        (np.ones((2, 3)), {"ids": ["a"]}, "2 vectors, 1 ids and 1 metadata"),
        (np.ones((2, 3)), {"ids": ["a", "a"]}, "'a' stands twice"),
        (np.ones((1, 3)), {"metadata": []}, "1 vectors, 1 ids and 0 metadata"),
    ],
)
def test_what_does_not_go_together_adds_nothing(vectors: np.ndarray, given: dict[str, list], message: str) -> None:
    index = MemoryIndex(3)
    with pytest.raises(UsageError, match=message):
        index.add(vectors, **given)
    assert len(index) == 0


def test_wrong_searches_are_refused() -> None:
    index = MemoryIndex(3)
    with pytest.raises(UsageError, match="k: found 0"):
        index.search(np.ones(3), 0)
    with pytest.raises(UsageError, match="shape"):
        index.search(np.ones(4))
    with pytest.raises(NotFound, match="'x' is not in this index"):
        index.vector("x")
    with pytest.raises(UsageError, match="space: found 'cosinus'"):
        MemoryIndex(3, "cosinus")
