"""The space of the vectors in the plane, as SVG: a dot an item, with its picture where one points at it.

No script: a hidden picture beside the plot belongs to each dot, and is shown while the pointer is there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sim_transforms.report.data import Point

SIDE, MARGIN, WIDTH = 460, 10, 640
# Of the classes that have a colour of their own, and of all others: of middling lightness, so that they stand out on a
# light page and on a dark one.
PALETTE = (
    "#4477d6",
    "#e0702f",
    "#2f9e62",
    "#d14b57",
    "#8d63c9",
    "#9a6b4c",
    "#d765b0",
    "#7d8f1f",
    "#1ba3b5",
    "#c39a17",
    "#8b949e",
)
COLOURS = len(PALETTE) - 1
# Of the picture beside the plot, and characters of the texts below it.
_PANEL, _LETTERS = 132, 22


@dataclass(frozen=True)
class Dot:
    """A dot at `x`, `y`, of the class of colour `colour`; `hollow` where the class was never seen in training."""

    x: float
    y: float
    colour: int
    hollow: bool
    item_id: str
    label: str
    picture: bytes | None


@dataclass(frozen=True)
class LegendEntry:
    """A class, or all others together, and the items of it that are drawn."""

    name: str
    colour: int
    hollow: bool
    count: int


@dataclass(frozen=True, kw_only=True)
class ProjectionDrawing:
    """What the template draws."""

    dots: tuple[Dot, ...]
    legend: tuple[LegendEntry, ...]
    width: int = WIDTH
    side: int = SIDE
    panel: int = _PANEL
    letters: int = _LETTERS

    @property
    def described(self) -> str:
        """In words, for those who do not see it."""
        return ", ".join(f"{entry.name}: {entry.count}" for entry in self.legend) or f"items: {len(self.dots)}"


def draw_projection(points: Sequence[Point]) -> ProjectionDrawing | None:
    """The most frequent classes get a colour each; null without points."""
    if not points:
        return None
    counts = Counter(point.label for point in points if point.label)
    order = sorted(counts, key=lambda label: (-counts[label], label))
    most = order[:COLOURS] if len(order) <= COLOURS else order[: COLOURS - 1]
    # Colours go by name, so that a class keeps its own while the numbers of items change.
    colours = {label: number for number, label in enumerate(sorted(most))}
    hollow = {point.label for point in points if point.known is False}
    legend = [LegendEntry(label, colours[label], label in hollow, counts[label]) for label in sorted(most)]
    if left := sum(counts.values()) - sum(counts[label] for label in most):
        legend.append(LegendEntry(f"{len(order) - len(most):,} other classes", COLOURS, False, left))
    dots = tuple(
        Dot(_at(p.x), _at(p.y), colours.get(p.label, COLOURS), p.known is False, p.item_id, p.label, p.picture)
        for p in points
    )
    return ProjectionDrawing(dots=dots, legend=tuple(legend))


def _at(share: float) -> float:
    return round(MARGIN + share * (SIDE - 2 * MARGIN), 1)
