"""What changed from one version to another, as a page."""

from collections.abc import Mapping
from pathlib import Path

from sim_transforms.report.changes import VersionDiff
from sim_transforms.report.page import template, write_page

# Item ids of each kind that the page lists, and the first of them that it shows with a picture.
LISTED, PICTURED = 200, 24


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
