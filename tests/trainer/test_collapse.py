"""The collapse watch: its figures, what it lets pass and what it stops."""

import numpy as np
import pytest

from sim_transforms.errors import Collapsed
from trainer.collapse import CollapseWatch, effective_rank, spread, view_agreement


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


RANDOM = _unit(np.random.default_rng(0).normal(size=(300, 16)))
POINT = np.tile(RANDOM[:1], (300, 1))


def test_spread_of_one_point_is_0_and_of_random_directions_1() -> None:
    assert spread(POINT) == pytest.approx(0.0, abs=1e-6)
    assert spread(RANDOM) == pytest.approx(1.0, abs=0.01)


def test_effective_rank_of_known_matrices() -> None:
    corners = np.concatenate([np.eye(4), -np.eye(4)])
    assert effective_rank(corners) == pytest.approx(4.0)
    assert effective_rank(np.outer(np.arange(5.0), [1.0, 2.0, 3.0])) == pytest.approx(1.0, abs=1e-4)
    assert effective_rank(POINT) == pytest.approx(1.0, abs=1e-2)


def test_view_agreement_counts_views_that_find_each_other() -> None:
    assert view_agreement(RANDOM, RANDOM) == 1.0
    assert view_agreement(RANDOM, np.roll(RANDOM, 1, axis=0)) == 0.0


def test_watch_stops_at_one_point_at_once() -> None:
    with pytest.raises(Collapsed, match=r"spread.*learning_rate"):
        CollapseWatch(True).look(POINT, None)


def test_watch_stops_at_numbers_that_are_none() -> None:
    with pytest.raises(Collapsed, match="finite"):
        CollapseWatch(True).look(np.full((5, 3), np.nan, np.float32), None)


def test_watch_stops_when_views_do_not_find_each_other_over_epochs() -> None:
    watch = CollapseWatch(False)
    watch.look(RANDOM, 0.0)
    with pytest.raises(Collapsed, match="knn_probe"):
        watch.look(RANDOM, 0.003)


def test_watch_stops_at_a_line_where_no_labels_ask_for_it() -> None:
    flat = _unit(np.stack([np.ones(300), 0.8 * np.sign(np.arange(300) % 2 - 0.5)], axis=1))
    watch = CollapseWatch(False)
    watch.look(flat, 0.9)
    with pytest.raises(Collapsed, match="effective_rank"):
        watch.look(flat, 0.9)
    labelled = CollapseWatch(True)
    for _ in range(3):
        labelled.look(flat, None)


def test_watch_lets_healthy_and_recovering_trainings_pass() -> None:
    watch = CollapseWatch(False)
    for agreement in (0.001, 0.5, 0.001, 0.7):
        figures = watch.look(RANDOM, agreement)
    assert figures["knn_probe"] == 0.7


def test_watch_remembers_the_epochs_before_a_kill() -> None:
    watch = CollapseWatch(False)
    watch.begin({}, [{"spread": 0.9, "effective_rank": 9.0, "knn_probe": 0.0}])
    with pytest.raises(Collapsed):
        watch.look(RANDOM, 0.0)


def test_watch_stops_when_views_find_each_other_half_as_often_as_before_training() -> None:
    watch = CollapseWatch(False)
    watch.begin({"spread": 0.3, "effective_rank": 16.0, "knn_probe": 0.4}, [])
    for agreement in (0.19, 0.21, 0.19):
        watch.look(RANDOM, agreement)
    with pytest.raises(Collapsed, match=r"knn_probe.*below 0\.2"):
        watch.look(RANDOM, 0.18)


def test_watch_stops_when_dimensions_are_lost_and_views_hardly_find_each_other_more_often() -> None:
    flat = _unit(RANDOM * ([1.0] * 4 + [0.001] * 12))
    before = {"spread": 0.3, "effective_rank": 14.0, "knn_probe": 0.4}
    certain = CollapseWatch(False)
    certain.begin({**before, "knn_probe": 0.7}, [])
    for _ in range(3):
        certain.look(flat, 0.95)
    useful, useless = CollapseWatch(False), CollapseWatch(False)
    for watch in (useful, useless):
        watch.begin(before, [])
    for _ in range(3):
        useful.look(flat, 0.7)
    useless.look(flat, 0.42)
    with pytest.raises(Collapsed, match=r"effective_rank.*below 4\.62"):
        useless.look(flat, 0.42)
