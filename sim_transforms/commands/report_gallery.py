"""The gallery of a report: test items and what they find, the best, the worst and the most confused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems
from sim_transforms.commands.thumbnails import media_png
from sim_transforms.lookup.clips import nearest_others
from sim_transforms.lookup.open import Match, OpenVersion
from sim_transforms.quality.confusion import Confusion, confusion
from sim_transforms.records.clips import sound_of
from sim_transforms.report.data import Row, Section, Tile

Array = np.ndarray[Any, Any]

NEIGHBORS = 8
PER_CLASS = 2
MOST_ROWS = 24
BEST_ROWS = 12
# Pairs of classes, and queries of each.
CONFUSED_PAIRS, PER_PAIR = 6, 2
# Classes that get a row and a column.
MATRIX = 20


@dataclass(frozen=True)
class Gallery:
    """What a version answers to the test items.

    Attributes:
        items: of the catalog.
        media: their pictures.
        found: row of the query -> nearest items, nearest first; of clips the nearest clip each of other sounds.
    """

    items: EmbeddedItems
    media: DecodedMedia
    found: dict[int, list[Match]]

    def label(self, row: int) -> str:
        """Class of a query."""
        return str(self.items.labels[row])

    def nearest(self, row: int) -> str:
        """Class of the nearest item of a query that found any."""
        return _class_of(self.found[row][0])

    def right(self, row: int) -> int:
        """Neighbours of the query's class."""
        return sum(_class_of(match) == self.label(row) for match in self.found[row])

    @property
    def answered(self) -> list[int]:
        """Queries that found anything."""
        return [row for row, matches in self.found.items() if matches]

    @property
    def wrong(self) -> list[int]:
        """Queries whose nearest item is of another class: fewest right neighbours first, then the nearest mistakes."""
        rows = [row for row in self.answered if self.nearest(row) != self.label(row)]
        return sorted(rows, key=lambda row: (self.right(row), self.found[row][0].distance, row))

    @property
    def best(self) -> list[int]:
        """Queries all of whose neighbours are right, the nearest ones first."""
        rows = [row for row in self.answered if self.right(row) == len(self.found[row])]
        return sorted(rows, key=lambda row: (float(np.mean([m.distance for m in self.found[row]])), row))

    def section(self, title: str, note: str, rows: Sequence[int], *, judged: bool = True) -> Section:
        """Queries with pictures."""
        return Section(title, note, tuple(self._row(row, judged) for row in rows))

    def _row(self, row: int, judged: bool) -> Row:
        label, matches = self.label(row), self.found[row]
        ids = [str(self.items.item_ids[row]), *(m.item_id for m in matches)]
        pictures = [picture_of(self.media, item_id) for item_id in ids]
        neighbors = tuple(
            Tile(m.item_id, _class_of(m), png, m.distance, _class_of(m) == label if judged else None)
            for m, png in zip(matches, pictures[1:], strict=True)
        )
        return Row(Tile(ids[0], label, pictures[0]), neighbors)


def picture_of(media: DecodedMedia, item_id: str) -> bytes | None:
    """PNG of an item, or null of one that was not preprocessed here."""
    return media_png(media.pixels([item_id])[0], media.manifest.media) if item_id in media else None


def _class_of(match: Match) -> str:
    return str(match.metadata.get("label") or "")


def sections_of(
    version: OpenVersion, items: EmbeddedItems, media: DecodedMedia, known: Sequence[str]
) -> tuple[tuple[Section, ...], Confusion | None]:
    """The parts of the gallery, and which classes are taken for which; of unlabelled sounds some of them."""
    queries = np.flatnonzero((items.splits == "test") & (items.labels != ""))
    if not len(queries):
        return (() if version.manifest.clips is None else (_sounds(version, items, media),)), None
    gallery = Gallery(items, media, _neighbors(version, items, queries))
    rows = gallery.answered
    asked, nearest = [gallery.label(row) for row in rows], [gallery.nearest(row) for row in rows]
    found = confusion(asked, nearest, MATRIX)
    kind = "test items" if version.manifest.clips is None else "test clips"
    return tuple(parts_of(gallery, kind, found, known)), found


def parts_of(gallery: Gallery, kind: str, found: Confusion, known: Sequence[str]) -> list[Section]:
    """Mistakes first, then the most confused classes, the best, and some of each class, known and unseen apart.

    Args:
        gallery: of all queries.
        kind: what the queries are called.
        found: which classes are taken for which.
        known: labels that the model was trained on.
    """
    wrong, best, labels = gallery.wrong, gallery.best, gallery.items.labels
    where = "among all items of this version, test items too"
    shown = f"{len(wrong)} of {len(gallery.found)} {kind} have a nearest neighbour of another class {where}"
    first = f"; the worst {MOST_ROWS} are shown" if len(wrong) > MOST_ROWS else ""
    order = ", those with the fewest right neighbours first" if wrong else ""
    all_right = f"{len(best):,} {kind} have right neighbours alone; those nearest to theirs, one a class"
    parts = [
        ("Mistakes", f"{shown}{first}{order}.", wrong[:MOST_ROWS]),
        ("Most confused classes", _pairs_note(found), _of_pairs(gallery, found, wrong)),
        ("Best", f"{all_right}.", _some_of_each(gallery, best, 1)[:BEST_ROWS]),
        ("Known classes", "Classes that the model was trained on.", _some(gallery, np.isin(labels, known))),
        ("Classes never seen in training", "Found by indexing alone.", _some(gallery, ~np.isin(labels, known))),
    ]
    return [gallery.section(*part) for part in parts if part[2] or part[0] == "Mistakes"]


def _pairs_note(found: Confusion) -> str:
    pairs = [f"{p.label} taken for {p.taken_for or 'no class'} ({p.count})" for p in found.pairs[:CONFUSED_PAIRS]]
    return "; ".join(pairs) + "."


def _of_pairs(gallery: Gallery, found: Confusion, wrong: Sequence[int]) -> list[int]:
    """Some mistakes of each of the most confused pairs."""
    rows: list[int] = []
    for pair in found.pairs[:CONFUSED_PAIRS]:
        taken = pair.label, pair.taken_for
        rows += [row for row in wrong if (gallery.label(row), gallery.nearest(row)) == taken][:PER_PAIR]
    return rows


def _some(gallery: Gallery, chosen: Array) -> list[int]:
    """The first queries of each class, of the items that are chosen, by item_id."""
    rows = [row for row in gallery.found if chosen[row]]
    ordered = sorted(rows, key=lambda row: (gallery.label(row), str(gallery.items.item_ids[row])))
    return _some_of_each(gallery, ordered, PER_CLASS)[:MOST_ROWS]


def _some_of_each(gallery: Gallery, rows: Sequence[int], most: int) -> list[int]:
    """The first rows of each class; classes in the order in which they come."""
    by_class: dict[str, list[int]] = {}
    for row in rows:
        by_class.setdefault(gallery.label(row), []).append(row)
    return [row for of_class in by_class.values() for row in of_class[:most]]


def _neighbors(version: OpenVersion, items: EmbeddedItems, queries: Array) -> dict[int, list[Match]]:
    """The nearest others of some rows."""
    found = nearest_others(version, items.vectors[queries], items.item_ids[queries].tolist(), NEIGHBORS)
    return dict(zip(queries.tolist(), found, strict=True))


def _sounds(version: OpenVersion, items: EmbeddedItems, media: DecodedMedia) -> Section:
    """Of a catalog without test items with labels: the first clip of some sounds, no answer right or wrong."""
    first: dict[str, int] = {}
    for row, item_id in enumerate(items.item_ids.tolist()):
        first.setdefault(sound_of(item_id), row)
    rows = np.array([first[sound] for sound in sorted(first)[:MOST_ROWS]], np.int64)
    gallery = Gallery(items, media, _neighbors(version, items, rows))
    note = "The first clip of some sounds, and the nearest clips of other sounds."
    return gallery.section("Sounds", note, list(gallery.found), judged=False)
