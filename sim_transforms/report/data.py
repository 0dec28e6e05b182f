"""What a report shows, as plain values."""

from dataclasses import dataclass
from typing import Any

from sim_transforms.records.manifests import VersionManifest


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
class ReportData:
    """A whole report.

    Attributes:
        evaluation: as `ruiji evaluate` gives it, or null.
        rejects: reason -> items.
        items_in: items of the catalog, or null where it is not known.
        linked: whether the page about the media lies beside.
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


def worst_classes(evaluation: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """At most so many classes of which a query was not answered rightly, the worst first."""
    return [each for each in evaluation.get("classes", []) if each["precision_at_1"] < 1.0][:most]
