"""What the page about a catalog's media shows, as plain values."""

from dataclasses import dataclass
from typing import Any

from sim_transforms.report.waveform import Waveform


@dataclass(frozen=True)
class Sample:
    """A picture or a sound.

    Attributes:
        png: of a picture; null where there is none.
        wave: of a sound; null where there is none.
        wav: the sound itself, of some samples alone.
        note: what is told of it.
    """

    item_id: str
    label: str = ""
    split: str = ""
    png: bytes | None = None
    wave: Waveform | None = None
    wav: bytes | None = None
    note: str = ""


@dataclass(frozen=True)
class RejectReason:
    """Files rejected for one reason, some of them as samples."""

    reason: str
    count: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class LabelCount:
    """Items of a label, by split."""

    label: str
    train: int
    test: int

    @property
    def items(self) -> int:
        """Of both splits."""
        return self.train + self.test


@dataclass(frozen=True)
class ClassBalance:
    """Items by label.

    Attributes:
        labels: in all.
        unlabelled: items without one.
        few: (limit, labels with fewer items than that).
        most, rarest: labels by items, most first in both; `rarest` is empty where `most` holds all.
    """

    labels: int
    unlabelled: int
    few: tuple[tuple[int, int], ...]
    most: tuple[LabelCount, ...]
    rarest: tuple[LabelCount, ...]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: what it stands for, and how many."""

    text: str
    count: int


@dataclass(frozen=True)
class Histogram:
    """Files by a quantity; `note` says the range and the median."""

    title: str
    note: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class CopyGroup:
    """Copies of one another: how many, whether their labels differ, and the first of them."""

    size: int
    labels_differ: bool
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Copies:
    """Duplicates of one kind.

    Attributes:
        groups, members: in all; members are files where exact, items where near.
        labels_differ: groups in which labels differ.
        shown: those that are shown.
    """

    groups: int
    members: int
    labels_differ: int
    shown: tuple[CopyGroup, ...]


@dataclass(frozen=True)
class LeakPair:
    """A test item and its copy in the train split; `bits` by which their hashes differ."""

    test: Sample
    train: Sample
    exact: bool
    bits: int


@dataclass(frozen=True)
class LabelLeaks:
    """Of the test items of a label, how many leak."""

    label: str
    test: int
    exact: int
    near: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return (self.exact + self.near) / self.test


@dataclass(frozen=True)
class LeakReport:
    """Test items with an exact copy in the train split, with a near one alone, and by label."""

    test: int
    exact: int
    near: int
    worst: tuple[LabelLeaks, ...]
    shown: tuple[LeakPair, ...]


@dataclass(frozen=True)
class MediaReport:
    """A whole page.

    Attributes:
        kind: of media, "image" or "audio".
        files_in, accepted, rejected: files of the catalog.
        items: records made of them; of pictures one a file.
        skipped_clips: of sounds, as silent.
        sizes: (width x height, files), most first; of pictures.
        distance: bits by which near duplicates may differ.
        flat: items without detail, not compared.
        whole: whether all near pairs were found; there are more where not.
        linked: whether the page of the index lies beside.
    """

    name: str
    kind: str
    files_in: int
    accepted: int
    rejected: int
    items: int
    skipped_clips: int
    rejects: tuple[RejectReason, ...]
    balance: ClassBalance
    histograms: tuple[Histogram, ...]
    sizes: tuple[tuple[str, int], ...]
    exact: Copies
    near: Copies
    leaks: LeakReport
    distance: int
    flat: int
    whole: bool
    linked: bool

    def plain(self) -> dict[str, Any]:
        """The counts, for --json."""
        exact, near = self.exact, self.near
        differ = "labels_differ"
        copies = {
            "exact": {"groups": exact.groups, "files": exact.members, differ: exact.labels_differ},
            "near": {"groups": near.groups, "items": near.members, differ: near.labels_differ, "complete": self.whole},
        }
        return {
            "duplicates": {**copies, "flat": self.flat},
            "leaks": {"exact": self.leaks.exact, "near": self.leaks.near, "test": self.leaks.test},
            "rejects": {reason.reason: reason.count for reason in self.rejects},
        }
