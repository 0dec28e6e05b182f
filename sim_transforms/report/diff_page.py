"""What changed from one version to another, as plain values and as a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim_transforms.report.page import template, write_page

# Item ids of each kind that the page lists, and the first of them that it shows with a picture.
LISTED, PICTURED = 200, 24


@dataclass(frozen=True)
class QueryChange:
    """An item in both versions, and the ids of its nearest items in each, nearest first, itself left out.

    Of versions of clips it is a clip, and the nearest are sounds, its own left out.
    """

    item_id: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def kept(self) -> int:
        """Neighbours that are in both answers."""
        return len(set(self.before) & set(self.after))

    @property
    def lost(self) -> int:
        """Neighbours that are in one answer alone, the answer that has more of them."""
        return max(len(self.before), len(self.after)) - self.kept


@dataclass(frozen=True)
class VersionDiff:
    """From one version to another.

    Attributes:
        before, after: ids of the versions.
        items_before, items_after: live items, or sounds.
        added, removed, changed: ids of these, sorted.
        compared_by: how `changed` was found: "digest" of the media, or "vectors".
        same_model: whether both were made with one model.
        sampled: items in both whose neighbours were compared.
        differing: of these, those whose neighbours are not the same.
        mean_kept: neighbours that stay, as a share, mean over the sample; 1 where there is none.
        most_changed: those that lost most neighbours, most first.
        clips: of the sounds of each version; null where the items are none.
    """

    before: str
    after: str
    items_before: int
    items_after: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    compared_by: str
    same_model: bool
    sampled: int
    differing: int
    mean_kept: float
    most_changed: tuple[QueryChange, ...]
    clips: tuple[int, int] | None = None

    def plain(self, limit: int) -> dict[str, Any]:
        """For --json, with at most `limit` ids of each kind; the counts are whole."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        before, after = ({"clips": count} for count in self.clips) if self.clips else ({}, {})
        return {
            "before": {"version": self.before, "items": self.items_before, **before},
            "after": {"version": self.after, "items": self.items_after, **after},
            **{kind: {"count": len(ids), "items": list(ids[:limit])} for kind, ids in kinds.items()},
            "compared_by": self.compared_by,
            "same_model": self.same_model,
            "queries": {
                "sampled": self.sampled,
                "differing": self.differing,
                "mean_kept": round(self.mean_kept, 6),
                "most_changed": [
                    {"item_id": q.item_id, "kept": q.kept, "before": list(q.before), "after": list(q.after)}
                    for q in self.most_changed
                ],
            },
        }


def shown_items(diff: VersionDiff) -> set[str]:
    """Ids of the items that the page shows with a picture, where there are pictures."""
    queries = {item_id for q in diff.most_changed for item_id in (q.item_id, *q.before, *q.after)}
    return queries.union(*(ids[:PICTURED] for ids in (diff.added, diff.removed, diff.changed)))


def write_diff_page(diff: VersionDiff, pictures: Mapping[str, bytes], output: Path) -> Path:
    """Writes `output/index.html`, without a script or a request to anywhere; gives its path.

    Args:
        diff: what is shown.
        pictures: item id -> PNG, of those that have one; empty for a page of names.
        output: folder.
    """
    kinds = (("Added", diff.added), ("Removed", diff.removed), ("Changed", diff.changed))
    page = template("diff.html").render(
        diff=diff, kinds=kinds, listed=LISTED, pictured=PICTURED, pictures=dict(pictures)
    )
    return write_page(page, output)
