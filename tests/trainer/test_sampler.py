"""Balanced batches: how often an example comes, where a stream goes on, and what several processes see."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_transforms.errors import UsageError
from trainer.sampler import BalancedSampler, JoinedSampler, Part, Sampler, ShuffledSampler

NUMBERS = np.arange(200) % 5


def _drawn(sampler: Sampler, batches: int) -> list[list[int]]:
    return [sampler.draw().tolist() for _ in range(batches)]


def _sampler(kind: str, seed: int = 3, part: Part | None = None) -> Sampler:
    rows = np.arange(3, 200)
    if kind == "balanced":
        return BalancedSampler(NUMBERS, rows, 3, 7, seed, part=part)
    if kind == "shuffled":
        return ShuffledSampler(rows, 31, seed, part)
    return JoinedSampler([_sampler("balanced", seed, part), _sampler("shuffled", seed, part)])


def test_balanced_sampler_batches_hold_p_classes_of_k_examples() -> None:
    for rows in _drawn(BalancedSampler(NUMBERS, np.arange(200), 3, 4, seed=1), 20):
        assert sorted(Counter(NUMBERS[rows]).values()) == [4, 4, 4]
        assert len(set(rows)) == 12


def test_balanced_sampler_classes_of_a_batch_vary() -> None:
    batches = _drawn(BalancedSampler(NUMBERS, np.arange(200), 3, 4, seed=1), 40)
    assert len({tuple(sorted(set(NUMBERS[rows]))) for rows in batches}) > 5


def test_balanced_sampler_examples_of_a_class_come_equally_often() -> None:
    numbers = np.array([0] * 6 + [1] * 30)
    batches = _drawn(BalancedSampler(numbers, np.arange(36), 2, 5, seed=0), 60)
    drawn = Counter(row for rows in batches for row in rows)
    assert {drawn[row] for row in range(6)} == {50}
    assert {drawn[row] for row in range(6, 36)} == {10}


def test_balanced_sampler_walks_a_class_in_another_order_each_time() -> None:
    sampler = BalancedSampler(np.array([0] * 8 + [1] * 8), np.arange(16), 2, 8, seed=0)
    first, second = sampler.draw()[:8].tolist(), sampler.draw()[:8].tolist()
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second


def test_balanced_sampler_small_class_is_repeated_and_few_classes_all_take_part() -> None:
    numbers = np.array([0, 1, 1])
    rows = BalancedSampler(numbers, np.arange(3), 6, 4, seed=0).draw()
    assert Counter(numbers[rows]) == {0: 4, 1: 4}


def test_balanced_sampler_small_class_is_left_out_where_asked() -> None:
    numbers = np.array([0] * 3 + [1] * 9 + [2] * 9)
    sampler = BalancedSampler(numbers, np.arange(21), 3, 4, 0, "leave_out")
    assert {int(number) for rows in _drawn(sampler, 20) for number in numbers[rows]} == {1, 2}


def test_balanced_sampler_no_class_large_enough_is_refused() -> None:
    with pytest.raises(UsageError, match="examples_per_class"):
        BalancedSampler(NUMBERS, np.arange(200), 3, 41, 0, "leave_out")


@pytest.mark.parametrize("kind", ["balanced", "shuffled", "joined"])
def test_sampler_same_seed_gives_the_same_batches_and_another_seed_others(kind: str) -> None:
    first, again, other = (_drawn(_sampler(kind, seed), 30) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", ["balanced", "shuffled", "joined"])
@given(before=st.integers(0, 40))
def test_sampler_goes_on_from_any_position(kind: str, before: int) -> None:
    undisturbed, resumed = _sampler(kind), _sampler(kind)
    _drawn(undisturbed, before)
    resumed.go_to(_as_json(undisturbed.position()))
    assert _drawn(resumed, 20) == _drawn(undisturbed, 20)


@pytest.mark.parametrize("kind", ["balanced", "shuffled"])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_sampler_parts_are_disjoint_and_whole(kind: str, count: int) -> None:
    seen = []
    for number in range(count):
        batches = _drawn(_sampler(kind, part=Part(number, count)), 120)
        seen.append({row for rows in batches for row in rows})
    assert sum(map(len, seen)) == len(set.union(*seen)) == 197
    assert max(map(len, seen)) - min(map(len, seen)) <= 5


def test_sampler_parts_of_single_examples_do_not_all_fall_to_the_first() -> None:
    numbers = np.repeat(np.arange(12), 2)
    parts = [BalancedSampler(numbers, np.arange(24), 4, 1, 0, part=Part(n, 4)) for n in range(4)]
    assert all(len({row for rows in _drawn(part, 60) for row in rows}) == 6 for part in parts)


def test_part_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="2 of 2"):
        Part(2, 2)


def test_shuffled_sampler_every_row_comes_once_a_walk() -> None:
    sampler = ShuffledSampler(np.arange(10, 40), 10, seed=0)
    walk = [row for rows in _drawn(sampler, 3) for row in rows]
    assert sorted(walk) == list(range(10, 40))
    assert walk != sorted(walk)


def _as_json(position: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint keeps it."""
    import json

    return json.loads(json.dumps(position, default=lambda array: array.tolist()))
