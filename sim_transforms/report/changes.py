"""What changed from one version to another, as plain values."""

from dataclasses import dataclass
from typing import Any


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
