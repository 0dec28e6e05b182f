"""Thresholds of matches: what they promise holds on the answers they were chosen by."""

import numpy as np
import pytest

from sim_transforms.quality.open_set import OpenSet, open_set
from trainer.calibration import calibrate


def _answers(seed: int, spread: float = 0.9) -> OpenSet:
    draws = np.random.default_rng(seed)
    centres, labels = draws.normal(size=(4, 8)), draws.integers(0, 4, 200)
    vectors = centres[labels] + spread * draws.normal(size=(200, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [str(label) for label in labels]
    return open_set(vectors[:60], names[:60], vectors[60:], names[60:], "cosine")


def _precision_and_recall(answers: OpenSet, threshold: float) -> tuple[float, float]:
    near, wrong = answers.present <= threshold, (answers.absent <= threshold).sum()
    right = (near & answers.right).sum()
    return right / (near.sum() + wrong), right / len(answers.rows)


def test_calibrate_threshold_keeps_the_precision_and_no_farther_one_finds_more() -> None:
    answers = _answers(4)
    found = calibrate(answers, 140, 0.9)
    assert found is not None
    precision, recall = _precision_and_recall(answers, found.max_distance)
    assert precision >= 0.9
    assert (found.precision, found.recall, found.gallery) == (round(precision, 6), round(recall, 6), 140)
    distances = np.concatenate([answers.present, answers.absent])
    farther = distances[distances > found.max_distance]
    assert len(farther)
    assert all(p < 0.9 or r == recall for p, r in (_precision_and_recall(answers, each) for each in farther))
    nearer = distances[distances < found.max_distance - 1e-6]
    assert all(_precision_and_recall(answers, each)[1] < recall for each in nearer)


def test_calibrate_by_f1_is_the_best_of_all_thresholds() -> None:
    answers = _answers(5)
    found = calibrate(answers, 140, None)
    assert found is not None
    assert found.target_precision is None
    best = 0.0
    for threshold in np.concatenate([answers.present, answers.absent]):
        precision, recall = _precision_and_recall(answers, threshold)
        best = max(best, 2 * precision * recall / (precision + recall) if precision else 0.0)
    assert found.f1 == pytest.approx(best, abs=1e-6)


def test_calibrate_reliability_counts_every_answer_once() -> None:
    answers = _answers(6)
    found = calibrate(answers, 140, 0.5)
    assert found is not None
    assert sum(each.answers for each in found.reliability) == 2 * len(answers.rows)
    assert sum(round(each.answers * each.precision) for each in found.reliability) == answers.right.sum()
    edge = found.reliability[0].max_distance + 1e-6
    near = answers.present <= edge
    expected = (near & answers.right).sum() / (near.sum() + (answers.absent <= edge).sum())
    assert found.reliability[0].precision == pytest.approx(expected, abs=1e-5)
    assert [each.max_distance for each in found.reliability] == sorted(each.max_distance for each in found.reliability)


def test_calibrate_of_classes_far_apart_refuses_what_is_of_no_class() -> None:
    answers = _answers(7, spread=0.05)
    found = calibrate(answers, 140, 0.95)
    assert found is not None
    scores = answers.scores(found.max_distance)
    assert (scores["right"], scores["refused"]) == (1.0, 1.0)


@pytest.mark.parametrize("target", [0.5, None])
def test_calibrate_of_nothing_right_gives_none(target: float | None) -> None:
    nothing = OpenSet(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0), np.zeros(0))
    assert calibrate(nothing, 0, target) is None
    wrong = OpenSet(np.arange(3), np.zeros(3, bool), np.full(3, 0.1), np.full(3, 0.2))
    assert calibrate(wrong, 9, target) is None


def test_calibrate_of_a_precision_that_no_threshold_has_gives_none() -> None:
    answers = OpenSet(np.arange(2), np.array([True, False]), np.array([0.3, 0.3]), np.array([0.1, 0.1]))
    assert calibrate(answers, 9, 0.9) is None
