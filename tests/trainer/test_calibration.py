"""Thresholds of matches: what they promise holds on the pairs they were chosen by."""

import numpy as np
import pytest

from trainer.calibration import calibrate


def _items(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    centres, labels = draws.normal(size=(4, 8)), draws.integers(0, 4, count)
    vectors = centres[labels] + 0.9 * draws.normal(size=(count, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def _pairs(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(len(labels), 1)
    return 1 - (vectors @ vectors.T)[first, second], labels[first] == labels[second]


def test_calibrate_threshold_keeps_the_precision_and_the_next_breaks_it() -> None:
    vectors, labels = _items(4)
    found = calibrate(vectors, [str(x) for x in labels], 0.9)
    assert found is not None
    distances, same = _pairs(vectors, labels)
    assert same[distances <= found.max_distance + 1e-6].mean() >= 0.9
    farther = np.sort(distances[distances > found.max_distance + 1e-6])
    assert all(same[distances <= d].mean() < 0.9 for d in farther[::40])


def test_calibrate_by_f1_is_the_best_of_all_thresholds() -> None:
    vectors, labels = _items(5)
    found = calibrate(vectors, [str(x) for x in labels], None)
    assert found is not None
    assert found.target_precision is None
    distances, same = _pairs(vectors, labels)
    best = 0.0
    for threshold in distances:
        near = distances <= threshold
        precision, recall = same[near].mean(), same[near].sum() / same.sum()
        best = max(best, 2 * precision * recall / (precision + recall))
    assert found.f1 == pytest.approx(best, abs=1e-5)


def test_calibrate_reliability_counts_every_pair_once() -> None:
    vectors, labels = _items(6)
    found = calibrate(vectors, [str(x) for x in labels], 0.5)
    assert found is not None
    distances, same = _pairs(vectors, labels)
    assert sum(each.pairs for each in found.reliability) == len(distances)
    assert sum(round(each.pairs * each.precision) for each in found.reliability) == same.sum()
    near = distances <= found.reliability[0].max_distance + 1e-6
    assert found.reliability[0].precision == pytest.approx(same[near].mean(), abs=1e-5)
    assert [each.max_distance for each in found.reliability] == sorted(each.max_distance for each in found.reliability)


def test_calibrate_leaves_out_items_without_a_label() -> None:
    vectors, labels = _items(7)
    names = [str(x) for x in labels]
    more = np.concatenate([vectors, vectors[:20]])
    assert calibrate(more, [*names, *[""] * 20], 0.8) == calibrate(vectors, names, 0.8)


@pytest.mark.parametrize("target", [0.5, None])
def test_calibrate_of_no_two_items_of_a_class_gives_none(target: float | None) -> None:
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (6, 1))
    assert calibrate(vectors, list("abcdef"), target) is None
