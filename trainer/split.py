"""Which examples are trained on and which choose the epoch; test items and other labels never do either."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.errors import UsageError
from sim_transforms.records.clips import sound_of
from trainer.places import UNLABELLED, Places

Array = np.ndarray[Any, Any]

# Labels that an error names.
_SHOWN = 20


@dataclass(frozen=True)
class TrainingSplit:
    """Rows of `Places`, and the classes in the order of their numbers.

    Attributes:
        training, validation: [t], [v] int64.
        unlabelled: [u] int64, training rows without a label.
        classes: labels trained on; none where labels play no part.
    """

    training: Array
    validation: Array
    unlabelled: Array
    classes: tuple[str, ...]


def split_training(
    places: Places,
    train_labels: Sequence[str] | str,
    share: float,
    seed: int,
    *,
    clips: bool = False,
    needs_labels: bool = True,
) -> TrainingSplit:
    """Cuts validation out of the training items of the trained labels, by hash of item_id.

    Items of the test split and of other labels are in neither. Clips of one sound stay together, by hash of the sound,
    unless it is the only one of its label.

    Args:
        places: of all items.
        train_labels: labels, or "all".
        share: of validation.
        seed: of the hash.
        clips: whether items are clips of sounds.
        needs_labels: whether a metric loss trains; without one items that have no label are trained on as the others,
            where train_labels is "all".

    Raises:
        UsageError: a label that no training item has, fewer than two classes, no two items of one class, or no
            validation item.
    """
    classes = _classes(places, train_labels, needs_labels)
    usable = np.flatnonzero(places.in_train & np.isin(places.numbers, places.numbers_of(classes)))
    unlabelled = np.flatnonzero(places.in_train & places.unlabelled)
    if not needs_labels and train_labels == "all":
        usable = np.sort(np.concatenate([usable, unlabelled]))
    held = np.array([_held_out(unit, share, seed) for unit in _units(places, usable, clips)], bool)
    training, validation = usable[~held], usable[held]
    sizes = np.unique(places.numbers[training], return_counts=True)[1]
    if len(sizes) < (2 if needs_labels else 1) or len(validation) < 2:
        raise UsageError(
            f"{len(training)} training and {len(validation)} validation items are too few; add items, or change "
            "train.validation_share"
        )
    if needs_labels and sizes.max() < 2:
        raise UsageError(
            f"train.loss: each of {len(sizes)} classes has one training item, so that no two are of one class; label "
            "more items, or train without labels by train.loss=none"
        )
    return TrainingSplit(training, validation, unlabelled, classes)


def _classes(places: Places, train_labels: Sequence[str] | str, needs_labels: bool) -> tuple[str, ...]:
    counts = np.bincount(places.numbers[places.in_train], minlength=len(places.labels))
    present = tuple(label for label, count in zip(places.labels, counts, strict=True) if count and label != UNLABELLED)
    classes = present if train_labels == "all" else tuple(train_labels)
    missing = [label for label in classes if label not in present]
    if missing:
        shown = ", ".join(present[:_SHOWN]) + (", ..." if len(present) > _SHOWN else "")
        raise UsageError(
            f"train.train_labels: no item of the train split has the label {missing[0]!r}; there are: {shown or 'none'}"
        )
    if needs_labels and len(classes) < 2:
        found = f"{len(classes)} label{'s' if len(classes) != 1 else ''}"
        raise UsageError(
            f"train.loss: the train split has {found}, and a metric loss needs two; label the catalog, or train "
            "without labels by train.loss=none"
        )
    return classes


def _units(places: Places, rows: Array, clips: bool) -> list[str]:
    """What stays together of each row: the item, or the sound of a clip."""
    ids = places.ids_of(rows)
    if not clips:
        return ids
    sources, labels = [sound_of(item_id) for item_id in ids], places.labels_of(rows)
    several = Counter(label for label, _ in set(zip(labels, sources, strict=True)))
    together = zip(ids, sources, labels, strict=True)
    return [source if several[label] > 1 else item_id for item_id, source, label in together]


def _held_out(item_id: str, share: float, seed: int) -> bool:
    digest = hashlib.sha256(f"validation:{seed}:{item_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
