"""What a report gathers: the order of the gallery, the plane, and what changed since the version before."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.commands.artefacts import EmbeddedItems
from sim_transforms.commands.report import report
from sim_transforms.commands.report_gallery import Gallery, parts_of
from sim_transforms.lookup.open import Match
from sim_transforms.quality.confusion import confusion
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish
from tests.unit.storage.published import some_vectors, version_folder

# Class of a query -> classes and distances of what it finds.
_FOUND = {
    "a0": ("a", [("a", 0.2), ("a", 0.3)]),
    "a1": ("a", [("b", 0.1), ("a", 0.3)]),
    "a2": ("a", [("b", 0.2), ("b", 0.3)]),
    "a3": ("a", [("a", 0.1), ("a", 0.1)]),
    "b0": ("b", [("c", 0.05), ("c", 0.3)]),
    "b1": ("b", [("b", 0.4), ("b", 0.5)]),
    "c0": ("c", [("c", 0.1), ("a", 0.2)]),
    "c1": ("c", []),
}


class _NoMedia:
    """Media of a catalog none of whose items was preprocessed here."""

    def __contains__(self, item_id: str) -> bool:
        return False


@pytest.fixture
def gallery() -> Gallery:
    ids, labels = list(_FOUND), [label for label, _ in _FOUND.values()]
    count = len(ids)
    items = EmbeddedItems(np.array(ids), np.array(labels), np.array(["test"] * count), np.zeros((count, 2), np.float32))
    found = {
        row: [Match(f"{ids[row]}-{place}", distance, {"label": label}) for place, (label, distance) in enumerate(near)]
        for row, (_, near) in enumerate(_FOUND.values())
    }
    media: Any = _NoMedia()
    return Gallery(items, media, found)


def _ids(gallery: Gallery, rows: list[int]) -> list[str]:
    return [str(gallery.items.item_ids[row]) for row in rows]


def test_gallery_puts_the_worst_mistakes_and_the_best_answers_first(gallery: Gallery) -> None:
    assert _ids(gallery, gallery.wrong) == ["b0", "a2", "a1"]
    assert _ids(gallery, gallery.best) == ["a3", "a0", "b1"]
    assert len(gallery.answered) == len(_FOUND) - 1


def test_gallery_parts_show_mistakes_pairs_best_and_each_class(gallery: Gallery) -> None:
    rows = gallery.answered
    asked, nearest = ([gallery.label(row) for row in rows], [gallery.nearest(row) for row in rows])
    parts = {part.title: part for part in parts_of(gallery, "test items", confusion(asked, nearest, 20), ["a", "b"])}
    shown = {title: [row.query.item_id for row in part.rows] for title, part in parts.items()}
    assert shown == {
        "Mistakes": ["b0", "a2", "a1"],
        "Most confused classes": ["a2", "a1", "b0"],
        "Best": ["a3", "b1"],
        "Known classes": ["a0", "a1", "b0", "b1"],
        "Classes never seen in training": ["c0", "c1"],
    }
    assert parts["Mistakes"].note.startswith("3 of 8 test items have a nearest neighbour of another class")
    assert parts["Most confused classes"].note == "a taken for b (2); b taken for c (1)."
    (first, second) = parts["Mistakes"].rows[2].neighbors
    assert (first.right, second.right, first.png) == (False, True, None)


def test_gallery_without_mistakes_says_so(gallery: Gallery) -> None:
    best = {row: gallery.found[row] for row in gallery.best}
    only = Gallery(gallery.items, gallery.media, best)
    labels = [only.label(row) for row in best]
    parts = parts_of(only, "test items", confusion(labels, labels, 20), ["a", "b"])
    assert [(part.title, len(part.rows)) for part in parts] == [("Mistakes", 0), ("Best", 2), ("Known classes", 3)]


def test_report_tells_what_changed_while_the_version_before_is_there(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "store"))
    before = publish(store, tmp_path / "old", version_folder(tmp_path / "old", some_vectors()))
    moved = np.concatenate([some_vectors()[:-3], some_vectors(7, 8)])
    named = version_folder(tmp_path / "new", moved, before)
    _without(tmp_path / "new", ("item-57", "item-58", "item-59"))
    publish(store, tmp_path / "new", replace(named, files=(file_entry(tmp_path / "new", "items.parquet"),)))
    nothing = dict.fromkeys(("examples", "embeddings", "model", "evaluation"))
    page = report(store.url, tmp_path / "page", name="shop", **nothing).read_text()
    assert "What changed since the version before" in page
    assert f"Version <code>{before}</code> to this one" in page
    assert "<dt>Added</dt><dd>8<small>" in page
    assert "<dt>Removed</dt><dd>3</dd>" in page
    assert [gone for gone in ("item-57", "item-58", "item-59") if gone in page] == []
    shutil.rmtree(tmp_path / "store" / "versions" / before)
    assert "What changed" not in report(store.url, tmp_path / "again", name="shop", **nothing).read_text()


def _without(folder: Path, ids: tuple[str, ...]) -> None:
    """Gives some items of a version new ids."""
    table = pq.read_table(folder / "items.parquet")
    named = [f"other-{i[5:]}" if i in ids else i for i in table.column("item_id").to_pylist()]
    pq.write_table(table.set_column(1, "item_id", pa.array(named)), folder / "items.parquet")
