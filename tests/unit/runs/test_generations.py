"""Generations add up whatever their order, are known by their names, and stay few."""

import random
from pathlib import Path

import pytest

from sim_transforms.runs.generations import (
    MOST,
    Generation,
    added,
    known_generations,
    named_generation,
    next_generation,
)


def test_name_tells_everything_and_other_names_tell_nothing() -> None:
    generation = Generation(12, 345, 2**128 - 1)
    assert named_generation(generation.name) == generation
    assert len({Generation(1, 2, 3).name, Generation(1, 3, 3).name, Generation(2, 2, 3).name}) == 3
    assert [named_generation(name) for name in ("generation-1", "manifest.json", generation.name + "0")] == [None] * 3


def test_sums_do_not_depend_on_the_order_of_the_parts() -> None:
    rng = random.Random(0)
    parts = [Generation(rng.randrange(1, 4), rng.randrange(9), rng.getrandbits(128)) for _ in range(50)]
    sums = added(parts)
    rng.shuffle(parts)
    assert added(parts) == sums
    assert [generation.number for generation in sums] == [1, 2, 3]
    assert sum(generation.records for generation in sums) == sum(part.records for part in parts)
    assert all(generation.digest < 2**128 for generation in sums)


def test_folders_of_results_are_read_by_their_names(tmp_path: Path) -> None:
    assert known_generations(tmp_path / "missing") == frozenset()
    for name in (Generation(1, 2, 3).name, "something"):
        (tmp_path / name).mkdir()
    assert known_generations(tmp_path) == {Generation(1, 2, 3)}


@pytest.mark.parametrize(
    ("count", "number", "merged"), [(0, 1, 0), (1, 2, 0), (MOST - 1, MOST, 0), (MOST, MOST + 1, MOST - 1)]
)
def test_all_but_the_largest_become_one_when_they_are_many(count: int, number: int, merged: int) -> None:
    known = [Generation(place + 1, 1000 if place == 3 else place, place) for place in range(count)]
    following, folded = next_generation(known)
    assert (following, len(folded)) == (number, merged)
    assert 4 not in folded
