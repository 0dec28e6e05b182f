"""What a report shows, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sim_transforms.quality.confusion import Confusion
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.report.changes import VersionDiff


@dataclass(frozen=True)
class Tile:
    """A picture with its caption; `png` is null where there is no picture.

    Attributes:
        right: whether it is of the query's class; null for the query itself, or without labels.
        distance: to the query, null for the query itself.
    """

    item_id: str
    label: str
    png: bytes | None
    distance: float | None = None
    right: bool | None = None


@dataclass(frozen=True)
class Row:
    """A query and its neighbours, nearest first."""

    query: Tile
    neighbors: tuple[Tile, ...]


@dataclass(frozen=True)
class Section:
    """A part of the gallery."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class CurvePoint:
    """Recall@10 and queries a second on one thread at an ef_search."""

    ef_search: int
    recall: float
    queries_per_second: float


@dataclass(frozen=True)
class Point:
    """An item in the plane, `x` and `y` from 0 to 1.

    Attributes:
        picture: WebP, or null.
        known: whether its class was seen in training; null without a label.
    """

    x: float
    y: float
    item_id: str
    label: str
    picture: bytes | None
    known: bool | None


@dataclass(frozen=True)
class Changes:
    """What is other than in the version before.

    Attributes:
        diff: between the two.
        removed: items that are gone. Which they are is not told: they may have been forgotten.
        recall: of the version before, at the largest k it was measured at; null where it was not.
        pictures: item id -> PNG of the items of `diff.most_changed`, of those that have one.
    """

    diff: VersionDiff
    removed: int
    recall: float | None
    pictures: Mapping[str, bytes]


@dataclass(frozen=True)
class ReportData:
    """A whole report.

    Attributes:
        evaluation: as `ruiji evaluate` gives it, or null.
        rejects: reason -> items.
        items_in: items of the catalog, or null where it is not known.
        linked: whether the page about the media lies beside.
        confusion: of the classes of test items; null without any.
        points: of some items in the plane, by hash of their ids.
        changes: since the version before; null of the first one, or where that is gone.
    """

    name: str
    version: str
    manifest: VersionManifest
    evaluation: dict[str, Any] | None
    rejects: dict[str, int]
    items_in: int | None
    curve: tuple[CurvePoint, ...]
    sections: tuple[Section, ...]
    linked: bool = False
    confusion: Confusion | None = None
    points: tuple[Point, ...] = ()
    changes: Changes | None = None


def worst_classes(evaluation: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """At most so many classes of which a query was not answered rightly, the worst first."""
    return [each for each in evaluation.get("classes", []) if each["precision_at_1"] < 1.0][:most]
