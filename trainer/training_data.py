"""What a training reads: batches of examples to train on, and the items that choose the epoch."""

import hashlib
import json
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sim_transforms.errors import DamagedArtefact
from sim_transforms.features.example_format import decode_example
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.records.statistics import DataStatistics, data_statistics
from sim_transforms.settings.training import TrainSettings
from sim_transforms.storage.checksums import file_entry
from trainer.batches import Batches, Groups, group_size
from trainer.dataset import FeatureReader
from trainer.places import load_places
from trainer.records import RecordReader
from trainer.sampler import BalancedSampler, JoinedSampler, Part, Sampler, ShuffledSampler
from trainer.sound_views import ClipNeighbors, SoundViews
from trainer.split import split_training

Array = np.ndarray[Any, Any]

# Items embedded at once; clips are some hundred times as large as small pictures.
_BLOCK, _CLIPS = 256, 32
_ADVICE = "run `ruiji preprocess` again"
_READ_WHOLE = ("offsets.parquet", "statistics.json")
# Items that validation items are asked among.
_GALLERY = 20_000


class TrainingData:
    """The examples of a training, opened; `close` when done.

    Args:
        examples: their folder.
        settings: labels, split and sizes of batches.

    Attributes:
        manifest: of the examples.
        classes: labels trained on, sorted: a class's number is its place.
        validation: [v] rows that choose the epoch, and their `labels`.
        statistics: of the examples; null of examples that do not tell them.

    Raises:
        UsageError: labels or items that cannot be trained on.
        DamagedArtefact: the examples are not as their manifest says.
    """

    def __init__(self, examples: Path, settings: TrainSettings) -> None:
        self.manifest = ExamplesManifest.load(examples)
        _check_files(examples, self.manifest)
        self._settings, self._sound = settings, self.manifest.media.sound
        self._places = load_places(examples)
        self._split = split_training(
            self._places,
            settings.train_labels,
            settings.validation_share,
            settings.seed,
            clips=self._sound is not None,
            needs_labels=settings.loss != "none",
        )
        self.classes = tuple(sorted(self._split.classes))
        self.validation = self._lowest(self._split.validation, settings.validation_items)
        self.labels = self._places.labels_of(self.validation)
        self.statistics = _statistics(examples)
        self._records, self._features = RecordReader.of_examples(examples, self.manifest), FeatureReader(examples)

    def close(self) -> None:
        """Closes the files."""
        self._records.close()

    @property
    def is_sound(self) -> bool:
        """Whether the items are clips."""
        return self._sound is not None

    @property
    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation that were taken off the features, a channel (0 to 255) or mel band (dB)."""
        return (self.statistics.mean, self.statistics.deviation) if self.statistics is not None else None

    @property
    def training(self) -> Array:
        """[t] rows trained on."""
        return self._split.training

    @cached_property
    def batch(self) -> int:
        """Rows of a batch that are drawn from `training`: fewer than P classes all take part."""
        chosen = self._settings
        if chosen.loss == "none":
            return chosen.classes_per_batch * chosen.examples_per_class
        least = chosen.examples_per_class if chosen.small_classes == "leave_out" else 1
        classes = int((self._class_sizes >= least).sum())
        return min(chosen.classes_per_batch, classes) * chosen.examples_per_class

    @property
    def whole_batch(self) -> int:
        """Rows of a batch, those without a label of `train.semi` too."""
        return self.batch + (self._unlabelled_size if self._has_unlabelled else 0)

    @property
    def single_classes(self) -> int:
        """Classes trained on of which there is one training item alone."""
        return int((self._class_sizes == 1).sum())

    @property
    def gallery(self) -> Array:
        """[g] rows of the train split with a label, trained on or not, at most 20,000 of them; no validation item."""
        offered = np.flatnonzero(self._places.in_train & ~self._places.unlabelled)
        return self._lowest(np.setdiff1d(offered, self._split.validation), _GALLERY)

    @property
    def count(self) -> int:
        """Examples in all, trained on or not."""
        return len(self._places)

    @property
    def in_train(self) -> Array:
        """[count] bool, whether an example is of the train split."""
        return self._places.in_train

    def labels_of(self, rows: Array) -> list[str]:
        """Labels of rows."""
        return self._places.labels_of(rows)

    @property
    def validation_ids(self) -> list[str]:
        """Item ids of the validation items."""
        return self._places.ids_of(self.validation)

    def batches(self, position: dict[str, Any] | None = None, part: Part | None = None) -> Batches:
        """A stream of batches, from its beginning or from a position that a batch of it told."""
        sampler, views = self._sampler(part or Part()), None
        read: Callable[[Array], Any] = partial(self._records.read_all, self._places)
        make: Callable[[Any], Any] = self._features.features
        if self._sound is not None:
            views = SoundViews(self._sound, self._settings.seed, self._settings.augment)
            read, make = self._clip_views(views), self._features.features_of_media
        if position is not None:
            sampler.go_to(position["sampler"])
            if views is not None:
                views.go_to(position["views"])
        groups = Groups(self._group(), position["taken"] if position is not None else 0, tf.split)
        state = views.position if views is not None else None
        return Batches(sampler, self._class_of(), read, make, state, groups)

    def features(self, rows: Array) -> Any:
        """[b] rows -> [b, *feature_shape] float32."""
        return self._features.features(self._records.read_all(self._places, rows))

    def media(self, rows: Array) -> list[bytes]:
        """Decoded media of rows, row-major bytes."""
        return [decode_example(record).media for record in self._records.read_all(self._places, rows)]

    def embed(self, embed: Callable[[Any], Any], rows: Array) -> Array:
        """[n] rows -> [n, d] float32, through a function of features, block by block."""
        block = _BLOCK if self._sound is None else _CLIPS
        blocks = [rows[start : start + block] for start in range(0, len(rows), block)]
        return np.concatenate([np.asarray(embed(self.features(several))) for several in blocks])

    def _group(self) -> int:
        """Batches that are read together: of pictures, a MiB of records, at most 16."""
        if self._sound is not None:
            return 1
        record = float(self._places.lengths[self._split.training].mean())
        return group_size(self.whole_batch * record)

    @cached_property
    def _class_sizes(self) -> Array:
        """[classes] training items of each class that has any."""
        return np.unique(self._places.numbers[self._split.training], return_counts=True)[1]

    @property
    def _has_unlabelled(self) -> bool:
        return self._settings.semi and len(self._split.unlabelled) > 0

    @property
    def _unlabelled_size(self) -> int:
        return self._settings.classes_per_batch * self._settings.examples_per_class

    def _sampler(self, part: Part) -> Sampler:
        chosen, training = self._settings, self._split.training
        if chosen.loss == "none":
            return ShuffledSampler(training, self.batch, chosen.seed, part)
        balanced = BalancedSampler(
            self._places.numbers,
            training,
            chosen.classes_per_batch,
            chosen.examples_per_class,
            chosen.seed,
            chosen.small_classes,
            part,
        )
        if not self._has_unlabelled:
            return balanced
        beside = ShuffledSampler(self._split.unlabelled, self._unlabelled_size, chosen.seed, part)
        return JoinedSampler([balanced, beside])

    def _class_of(self) -> Array:
        """[n] int32 class of every row; -1 of rows that have none or none of those trained on."""
        numbers = np.full(len(self._places.labels), -1, np.int32)
        numbers[self._places.numbers_of(self.classes)] = np.arange(len(self.classes), dtype=np.int32)
        return numbers[self._places.numbers]

    def _clip_views(self, views: SoundViews) -> Callable[[Array], list[bytes]]:
        """A function of [b] rows -> media of 2 b views: first ones, then second ones."""
        assert self._sound is not None
        neighbors = ClipNeighbors(self._places.item_ids.to_pylist(), self._sound)

        def read(rows: Array) -> list[bytes]:
            follows = neighbors.follows[rows]
            clips = self._clips(rows)
            after = iter(self._clips(follows[follows >= 0]))
            pairs = views.pairs(clips, [next(after) if row >= 0 else None for row in follows])
            return [first for first, _ in pairs] + [second for _, second in pairs]

        return read

    def _clips(self, rows: Array) -> list[Array]:
        return [np.frombuffer(media, "<i2") for media in self.media(rows)]

    def _lowest(self, rows: Array, most: int) -> Array:
        """At most so many rows, those of the lowest hashes of their ids, in their order."""
        if len(rows) <= most:
            return rows
        hashes = [hashlib.sha256(item_id.encode()).digest() for item_id in self._places.ids_of(rows)]
        drawn = sorted(range(len(rows)), key=hashes.__getitem__)[:most]
        return rows[np.sort(np.array(drawn, np.int64))]


def _check_files(examples: Path, manifest: ExamplesManifest) -> None:
    """All are there in their sizes, and what is read at once has its checksum; records have theirs, looked at later."""
    for entry in manifest.files:
        path = examples / entry.name
        if not path.is_file() or path.stat().st_size != entry.size_bytes:
            found = f"{path.stat().st_size} bytes" if path.is_file() else "missing"
            raise DamagedArtefact(f"{path}: {found}, {entry.size_bytes} bytes are expected: {_ADVICE}")
        if entry.name in _READ_WHOLE and file_entry(examples, entry.name) != entry:
            raise DamagedArtefact(f"{path}: its checksum differs from the manifest's: {_ADVICE}")


def _statistics(examples: Path) -> DataStatistics | None:
    """What the examples say of themselves."""
    known = json.loads((examples / "statistics.json").read_bytes())
    return (
        data_statistics(known["labels"], tuple(known["mean"]), tuple(known["deviation"])) if "mean" in known else None
    )
