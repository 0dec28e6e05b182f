"""The page of a published version, compared with what a search and a comparison with all vectors find."""

import numpy as np

from sim_transforms.lookup.clips import sounds_near
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.quality.exact import exact_neighbors
from tests.unit.browse.pages import arguments, pictures_of, rows_of


def checked_page(store: str) -> dict[str, str | None]:
    """The picture of each item that the page shows, after all else that it says was found true."""
    opened = open_version(store)
    items = {row["row"]: row for row in opened.items.to_pylist()}
    about, ids = arguments(opened.folder / "page" / "ids.js")
    assert {row: item_id for row, item_id in enumerate(ids) if item_id is not None} == {
        row: item["item_id"] for row, item in items.items()
    }
    entries = {row: entry for row, entry in enumerate(rows_of(opened.folder)) if entry is not None}
    assert entries.keys() == items.keys()
    for row, (item_id, metadata, near, far) in entries.items():
        assert dict(zip(about["columns"], metadata, strict=True)) == {
            name: value for name, value in items[row].items() if name not in ("row", "item_id", "digest")
        }
        assert (item_id, len(near)) == (ids[row], len(far))
        assert far == sorted(far)
    _check_neighbors(opened, list(entries), [entry[2] for entry in entries.values()], ids)
    return pictures_of(opened.folder)


def _check_neighbors(opened: OpenVersion, rows: list[int], near: list[list[int]], ids: list[str | None]) -> None:
    vectors = opened.vectors_at(np.array(rows))
    told = [[ids[row] for row in found] for found in near]
    if opened.manifest.clips is not None:
        sounds = opened.items.column("source_id").to_pylist()
        assert told == [[m.item_id for m in found] for found in sounds_near(opened, vectors, sounds, 12)]
        return
    assert told == [
        [match.item_id for match in found if match.item_id != ids[row]][:12]
        for row, found in zip(rows, opened.search(vectors, 13), strict=True)
    ]
    places, _ = exact_neighbors(vectors, vectors, 13, opened.manifest.space)
    exact = [[rows[p] for p in found if p != own][:12] for own, found in enumerate(places.tolist())]
    same = [len(set(found) & set(other)) / 12 for found, other in zip(near, exact, strict=True)]
    assert np.mean(same) > opened.manifest.recall_target


def told_anywhere(store: str, text: str) -> list[str]:
    """Names of the page's files in which a text stands."""
    folder = open_version(store).folder / "page"
    return [path.name for path in sorted(folder.rglob("*.js")) if text.encode() in path.read_bytes()]
