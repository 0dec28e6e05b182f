"""Recall counts by distance, its interval covers the truth, and ef_search is the smallest that reaches the target."""

import math

import numpy as np
import pytest

from sim_transforms.errors import RecallError
from sim_transforms.quality.recall import LADDER, choose_ef, recall_interval, sure_recall, tie_aware_recall
from sim_transforms.records.manifests import RecallInterval

_INF = math.inf


def _recall(found: list[float], exact: list[float]) -> float:
    return float(tie_aware_recall(np.array([found], np.float32), np.array([exact], np.float32))[0])


def test_tie_aware_recall_of_all_neighbours_is_one() -> None:
    assert _recall([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]) == 1.0


def test_tie_aware_recall_of_an_answer_too_far_counts_it_as_missed() -> None:
    assert _recall([0.1, 0.3, 0.4], [0.1, 0.2, 0.3]) == pytest.approx(2 / 3)


def test_tie_aware_recall_of_another_duplicate_is_one() -> None:
    """Two other items stand as far as the third; which of them comes back is no error."""
    assert _recall([0.1, 0.3, 0.3], [0.1, 0.3, 0.3]) == 1.0


def test_tie_aware_recall_within_rounding_is_one() -> None:
    assert _recall([0.1, 0.300003], [0.1, 0.3]) == 1.0


def test_tie_aware_recall_of_missing_answers_counts_them_as_missed() -> None:
    assert _recall([0.1, _INF], [0.1, 0.2]) == 0.5


def test_tie_aware_recall_with_fewer_items_than_k_is_of_those_there_are() -> None:
    assert _recall([0.1, _INF, _INF], [0.1, 0.2, _INF]) == 0.5


def test_tie_aware_recall_of_negative_distances_widens_the_limit_upwards() -> None:
    assert _recall([-9.0, -4.9999], [-9.0, -5.0]) == 1.0
    assert _recall([-9.0, -4.9], [-9.0, -5.0]) == 0.5


def _answers(recalls: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Found and exact distances of queries that find `recalls` [q] of their k neighbours."""
    exact = np.tile(np.arange(1, k + 1, dtype=np.float32), (len(recalls), 1))
    found = np.where(np.arange(k) < recalls[:, None] * k, exact, np.float32(99))
    return found, exact


def test_recall_interval_of_perfect_answers_ends_at_one_and_stays_open_below() -> None:
    interval = recall_interval(*_answers(np.ones(100), 10), 10, 50)
    assert interval == RecallInterval(10, 50, 1.0, interval.low, 1.0, 100)
    assert interval.low == pytest.approx(100 / (100 + 1.959964**2), abs=1e-6)


def test_recall_interval_of_seeded_samples_covers_the_true_recall() -> None:
    """At least the 95 % it claims: recalls of a query vary less than the coin that the interval assumes."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        recalls = generator.binomial(10, 0.95, size=200) / 10
        interval = recall_interval(*_answers(recalls, 10), 10, 50)
        covered += interval.low <= 0.95 <= interval.high
    assert covered >= 285


def _measure(recall_of: dict[int, float], asked: list[int]):
    """Recalls of 200 queries that are all alike; notes what is asked of all of them."""

    def measure(ef: int, queries: int | None) -> np.ndarray:
        if queries is None:
            asked.append(ef)
        return np.full(queries or 200, recall_of.get(ef, 1.0))

    return measure


def test_choose_ef_takes_the_smallest_that_reaches_the_target() -> None:
    asked: list[int] = []
    chosen = choose_ef(_measure({10: 0.9, 12: 0.94, 16: 0.95}, asked), 0.95, 10)
    assert (chosen.ef_search, chosen.recall, asked) == (16, 0.95, [10, 12, 16])


def test_choose_ef_begins_near_the_rung_that_a_pilot_finds() -> None:
    asked: list[int] = []
    recalls = {ef: 0.5 for ef in LADDER if ef < 200}
    assert choose_ef(_measure(recalls, asked), 0.9, 10).ef_search == 200
    assert asked == [128, 160, 200]


def test_choose_ef_goes_down_where_the_pilot_was_unlucky() -> None:
    def measure(ef: int, queries: int | None) -> np.ndarray:
        return np.full(queries or 200, float(ef >= (400 if queries else 24)))

    assert choose_ef(measure, 0.9, 10).ef_search == 24


def test_choose_ef_allows_for_the_error_of_the_sample() -> None:
    """A mean that reaches the target on few queries that differ is not enough; on many it is."""
    few = np.array([0.9, 1.0] * 10)
    for recalls, ef in ((few, 12), (np.tile(few, 100), 10)):
        answers = {10: recalls, 12: np.ones(20)}
        assert choose_ef(lambda rung, queries, answers=answers: answers[rung][:queries], 0.945, 10).ef_search == ef


def test_sure_recall_is_below_the_true_one_in_19_of_20_samples() -> None:
    generator = np.random.default_rng(1)
    samples = generator.binomial(10, 0.97, size=(2000, 300)) / 10
    assert 0.93 <= np.mean([sure_recall(recalls) <= 0.97 for recalls in samples]) <= 0.97


def test_sure_recall_of_one_query_is_its_recall() -> None:
    assert sure_recall(np.array([0.8])) == 0.8


def test_choose_ef_starts_at_k() -> None:
    asked: list[int] = []
    assert choose_ef(_measure({}, asked), 0.95, 30).ef_search == 32
    assert asked == [32]


def test_choose_ef_out_of_reach_says_found_target_and_what_to_raise() -> None:
    never = dict.fromkeys(LADDER, 0.5)
    with pytest.raises(RecallError) as failure:
        choose_ef(_measure(never, []), 0.9, 10, maximum=100)
    for part in ("0.5", "ef_search 100", "0.9", "index.m", "index.ef_construction", "index.neighbor_shards"):
        assert part in str(failure.value)


def test_ladder_ascends_strictly() -> None:
    assert list(LADDER) == sorted(set(LADDER))
