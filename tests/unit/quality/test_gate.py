"""The acceptance gate: means, margin, interval and the classes that got worse."""

import numpy as np
import pytest

from sim_transforms.quality.gate import judge

LABELS = ["a"] * 10 + ["b"] * 10 + ["c"] * 3


def _scores(*means: float) -> np.ndarray:
    """Of a, b and c."""
    return np.repeat(means, (10, 10, 3))


def test_judge_a_better_model_is_accepted_and_the_classes_that_got_worse_are_named() -> None:
    verdict = judge(_scores(0.5, 0.9, 0.9), _scores(1.0, 0.8, 0.1), LABELS, 0.0)
    assert verdict.accepted
    assert verdict.new - verdict.old == pytest.approx((5 - 1 - 2.4) / 23)
    assert [(each.label, each.queries) for each in verdict.worse] == [("b", 10)]


@pytest.mark.parametrize(("margin", "accepted"), [(0.0, False), (0.04, False), (0.06, True)])
def test_judge_a_worse_model_is_accepted_within_the_margin_alone(margin: float, accepted: bool) -> None:
    old = np.ones(20)
    new = np.where(np.arange(20) == 3, 0.0, 1.0)
    assert judge(old, new, LABELS[:20], margin).accepted is accepted


def test_judge_equal_models_are_accepted_with_an_empty_interval() -> None:
    verdict = judge(_scores(0.3, 0.3, 0.3), _scores(0.3, 0.3, 0.3), LABELS, 0.0)
    assert verdict.accepted
    assert (verdict.low, verdict.high, verdict.worse) == (0.0, 0.0, ())


def test_judge_interval_holds_the_difference_and_narrows_with_queries() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for count in (30, 3000):
        old = generator.integers(0, 2, count).astype(float)
        new = np.where(generator.random(count) < 0.2, 1.0, old)
        verdict = judge(old, new, ["a"] * count, 0.0)
        assert verdict.low <= verdict.new - verdict.old <= verdict.high
        widths.append(verdict.high - verdict.low)
    assert widths[1] < widths[0] / 5


def test_judge_of_other_numbers_of_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3"):
        judge(np.ones(2), np.ones(3), ["a"] * 2, 0.0)
