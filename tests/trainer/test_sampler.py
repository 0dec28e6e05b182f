"""Splits and balanced batches: who may choose what, and how often an example comes."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from sim_transforms.errors import UsageError
from trainer.calibration import calibrate
from trainer.metrics import is_better
from trainer.sampler import BalancedSampler, Places, split_training


def _places(count: int = 200) -> Places:
    ids = np.array([f"item-{i:03d}" for i in range(count)], dtype=object)
    labels = np.array([str(i % 5) for i in range(count)], dtype=object)
    splits = np.array(["test" if i % 3 == 0 else "train" for i in range(count)], dtype=object)
    numbers = np.zeros(count, np.int64)
    return Places(ids, labels, splits, numbers, numbers, numbers)


def test_split_training_test_items_and_other_labels_stand_in_neither_part() -> None:
    places = _places()
    split = split_training(places, ("0", "1"), 0.2, seed=0)
    rows = np.concatenate([split.training, split.validation])
    assert set(places.splits[rows]) == {"train"}
    assert set(places.labels[rows]) == {"0", "1"}
    assert not set(split.training) & set(split.validation)


def test_split_training_unknown_label_is_refused() -> None:
    with pytest.raises(UsageError, match="'9'"):
        split_training(_places(), ("0", "9"), 0.2, seed=0)


def test_balanced_sampler_batches_hold_p_classes_of_k_examples() -> None:
    labels = _places().labels
    for rows in islice(BalancedSampler(labels, np.arange(200), 3, 4, seed=1), 20):
        assert set(Counter(labels[rows]).values()) == {4}
        assert len(Counter(labels[rows])) == 3


def test_balanced_sampler_examples_of_a_class_come_equally_often() -> None:
    labels = np.array(["a"] * 6 + ["b"] * 30, dtype=object)
    drawn = Counter(int(r) for rows in islice(BalancedSampler(labels, np.arange(36), 2, 5, seed=0), 60) for r in rows)
    assert {drawn[r] for r in range(6)} == {50}
    assert {drawn[r] for r in range(6, 36)} == {10}


def test_balanced_sampler_small_class_is_repeated_and_few_classes_all_take_part() -> None:
    labels = np.array(["a", "b", "b"], dtype=object)
    rows = next(iter(BalancedSampler(labels, np.arange(3), 6, 4, seed=0)))
    assert Counter(labels[rows]) == {"a": 4, "b": 4}


def test_balanced_sampler_same_seed_gives_the_same_batches() -> None:
    labels = _places().labels
    first, again = ([r.tolist() for r in islice(BalancedSampler(labels, np.arange(200), 3, 4, 7), 9)] for _ in range(2))
    assert first == again


def test_is_better_tie_goes_to_the_later_epoch() -> None:
    assert is_better({"precision_at_1": 0.9, "map_at_r": 0.1}, {"precision_at_1": 0.9, "map_at_r": 0.8})
    assert not is_better({"precision_at_1": 0.8, "map_at_r": 0.9}, {"precision_at_1": 0.9, "map_at_r": 0.1})


def test_calibrate_threshold_keeps_the_precision_and_the_next_breaks_it() -> None:
    draws = np.random.default_rng(4)
    centres = draws.normal(size=(4, 8))
    labels = draws.integers(0, 4, 60)
    vectors = centres[labels] + 0.9 * draws.normal(size=(60, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = calibrate(vectors, [str(x) for x in labels], 0.9)
    assert found is not None
    first, second = np.triu_indices(60, 1)
    distances = 1 - (vectors @ vectors.T)[first, second]
    same = labels[first] == labels[second]
    assert same[distances <= found.max_distance + 1e-6].mean() >= 0.9
    farther = np.sort(distances[distances > found.max_distance + 1e-6])
    assert all(same[distances <= d].mean() < 0.9 for d in farther[::40])


def test_calibrate_unreachable_precision_gives_none() -> None:
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (6, 1))
    assert calibrate(vectors, list("abcdef"), 0.5) is None
