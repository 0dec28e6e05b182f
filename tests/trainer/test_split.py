"""Splits: who may be trained on and who may choose the epoch."""

from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, UsageError
from trainer.places import Places, load_places, make_places
from trainer.split import split_training


def _places(count: int = 200, without_label: int = 0) -> Places:
    ids = [f"item-{i:03d}" for i in range(count)]
    labels = ["" if i < without_label else str(i % 5) for i in range(count)]
    return make_places(ids, labels, ["test" if i % 3 == 0 else "train" for i in range(count)])


def test_split_training_test_items_and_other_labels_stand_in_neither_part() -> None:
    places = _places()
    split = split_training(places, ("0", "1"), 0.2, seed=0)
    rows = np.concatenate([split.training, split.validation])
    assert places.in_train[rows].all()
    assert set(places.labels_of(rows)) == {"0", "1"}
    assert not set(split.training) & set(split.validation)


def test_split_training_unknown_label_is_refused() -> None:
    with pytest.raises(UsageError, match="'9'"):
        split_training(_places(), ("0", "9"), 0.2, seed=0)


def test_split_training_items_without_a_label_are_told_apart() -> None:
    places = _places(without_label=60)
    split = split_training(places, "all", 0.2, seed=0)
    assert split.classes == ("0", "1", "2", "3", "4")
    assert sorted(split.unlabelled) == [i for i in range(60) if i % 3]
    assert min(*split.training, *split.validation) >= 60


def test_split_training_without_labels_takes_all_training_items() -> None:
    places = _places(without_label=200)
    split = split_training(places, "all", 0.2, seed=0, needs_labels=False)
    assert sorted([*split.training, *split.validation]) == np.flatnonzero(places.in_train).tolist()
    assert split.classes == ()


def test_split_training_with_labels_needs_two_classes() -> None:
    with pytest.raises(UsageError, match=r"0 labels.*train\.loss=none"):
        split_training(_places(without_label=200), "all", 0.2, seed=0)
    one = make_places([f"item-{i}" for i in range(40)], ["only"] * 40, ["train"] * 40)
    with pytest.raises(UsageError, match=r"1 label,.*train\.loss=none"):
        split_training(one, "all", 0.2, seed=0)


def test_split_training_classes_of_one_item_each_are_refused_for_a_metric_loss() -> None:
    names = [f"item-{i}" for i in range(40)]
    places = make_places(names, names, ["train"] * 40)
    with pytest.raises(UsageError, match=r"one training item.*train\.loss=none"):
        split_training(places, "all", 0.2, seed=0)
    assert len(split_training(places, "all", 0.2, seed=0, needs_labels=False).training) > 20


def test_split_training_validation_does_not_change_with_further_items() -> None:
    few, many = (split_training(_places(count), "all", 0.3, seed=1).validation for count in (150, 200))
    assert few.tolist() == [row for row in many if row < 150]


def test_split_training_clips_of_a_sound_stay_together() -> None:
    ids = [f"song-{song}#{2.5 * clip:g}" for song in range(12) for clip in range(6)]
    labels = [f"genre-{song % 3}" for song in range(12) for _ in range(6)]
    places = make_places(ids, labels, ["train"] * len(ids))
    held = set(split_training(places, "all", 0.3, seed=0, clips=True).validation // 6)
    kept = set(split_training(places, "all", 0.3, seed=0, clips=True).training // 6)
    assert held
    assert not held & kept


@pytest.mark.parametrize("damaged", [False, True])
def test_offsets_that_cannot_be_read_are_named(tmp_path: Path, damaged: bool) -> None:
    if damaged:
        (tmp_path / "offsets.parquet").write_text("broken")
    with pytest.raises(DamagedArtefact, match=r"offsets\.parquet.*ruiji preprocess"):
        load_places(tmp_path)
