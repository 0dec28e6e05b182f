"""Drift between catalogs: by classes, means and deviations."""

import math

import pytest

from sim_transforms.records.statistics import DataStatistics, data_statistics, drift_between


def _of(labels: dict[str, int], mean: float = 100.0, deviation: float = 20.0) -> DataStatistics:
    splits = {label: {"train": count - count // 3, "test": count // 3} for label, count in labels.items()}
    return data_statistics(splits, (mean, mean), (deviation, deviation))


def test_the_same_catalog_has_not_moved() -> None:
    found = drift_between(_of({"a": 10, "b": 30}), _of({"a": 10, "b": 30}))
    assert found is not None
    assert found.largest == 0.0


def test_a_larger_catalog_of_the_same_shares_has_not_moved() -> None:
    found = drift_between(_of({"a": 10, "b": 30}), _of({"a": 100, "b": 300}))
    assert found is not None
    assert found.labels == pytest.approx(0.0, abs=1e-12)


def test_classes_that_come_and_go_count_by_their_shares() -> None:
    # 10 of 40 items change class, and 20 of 60 are of a new one.
    assert _labels({"a": 10, "b": 30}, {"a": 20, "b": 20}) == pytest.approx(0.25)
    assert _labels({"a": 10, "b": 30}, {"a": 10, "b": 30, "c": 20}) == pytest.approx(1 / 3)
    assert _labels({"a": 5}, {"b": 5}) == pytest.approx(1.0)


def _labels(before: dict[str, int], now: dict[str, int]) -> float:
    found = drift_between(_of(before), _of(now))
    assert found is not None
    return found.labels


def test_means_and_deviations_are_told_in_units_of_before() -> None:
    found = drift_between(_of({"a": 1}), _of({"a": 1}, mean=90.0, deviation=40.0))
    assert found is not None
    assert (found.mean, found.deviation) == (0.5, math.log(2))
    assert found.largest == math.log(2)


def test_other_channels_cannot_be_compared() -> None:
    grey = data_statistics({"a": {"train": 1}}, (1.0,), (1.0,))
    assert drift_between(grey, _of({"a": 1})) is None


def test_rare_labels_beyond_what_is_kept_do_not_count_as_gone() -> None:
    many = {f"{number:05d}": 5 for number in range(3000)}
    before = _of(many)
    assert (len(before.labels), before.items) == (1000, 15_000)
    assert sum(before.rare) == 10_000
    # One more of a label that was cut off puts it among those that are kept, in place of another.
    found = drift_between(before, _of({**many, "02999": 6}))
    assert found is not None
    assert found.labels < 0.001


def test_many_classes_that_all_went_are_told() -> None:
    before, now = ({f"{side}-{number}": 1 for number in range(1500)} for side in ("old", "new"))
    assert _labels(before, now) > 0.5
    # Of more than a thousand classes half went.
    half = {**dict(list(before.items())[:750]), **dict(list(now.items())[:750])}
    assert 0.25 < _labels(before, half) < 0.5
