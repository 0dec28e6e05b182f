"""A version's items and neighbours -> `page/`, a page that needs no server.

| file | holds |
|---|---|
| `index.html`, `style.css`, `app.js` | the page, the same for all versions |
| `ids.js` | `ruiji.ids(about, [item_id, ...])`: by row; `about` says what the version holds |
| `rows/<chunk>.js` | `ruiji.rows(chunk, [[item_id, metadata, neighbour rows, distances], ...])` of 256 rows |
| `pictures/<chunk>.js` | `ruiji.pictures(chunk, [PNG as base64, ...])` of 64 rows; no folder where no item has one |

Free rows are null. The same input gives the same bytes, so that the page has checksums in the manifest; that is why it
does not name its version, which it reads out of its own address.
"""

import base64
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.browse.neighbors import K, nearest
from sim_transforms.browse.pictures import Pictures
from sim_transforms.browse.scripts import CHUNKS, chunk_path, script, shown
from sim_transforms.browse.static_files import NAMES, static_file
from sim_transforms.records.batches import metadata_names
from sim_transforms.records.manifests import PAGE_FOLDER, FileEntry, VersionManifest
from sim_transforms.settings.stages import SearchSettings, Settings
from sim_transforms.storage.checksums import file_entry

Array = np.ndarray[Any, Any]


def with_page(folder: Path, manifest: VersionManifest, settings: Settings, pictures: Pictures) -> VersionManifest:
    """The manifest of a version that is whole but for its page, which is written where the version is to have one.

    Args:
        folder: of the version's files.
        manifest: of them.
        settings: of the catalog.
        pictures: of items.
    """
    if not settings.index.wants_page(manifest.items):
        return manifest
    return replace(manifest, files=(*manifest.files, *write_page(folder, manifest, settings.search, pictures)))


def write_page(
    folder: Path, manifest: VersionManifest, search: SearchSettings, pictures: Pictures
) -> tuple[FileEntry, ...]:
    """Writes `folder/page/` and describes its files, by name; `with_page` says what it is given."""
    page, items = folder / PAGE_FOLDER, pq.read_table(folder / "items.parquet")
    page.mkdir()
    for name in NAMES:
        (page / name).write_bytes(static_file(name))
    rows = items.column("row").to_numpy()
    end = manifest.row_ranges[-1].end_row if manifest.row_ranges else 0
    ids = _by_row(items.column("item_id").to_pylist(), rows, end)
    some = _write_pictures(page, ids, _by_row(_digests(items), rows, end), pictures)
    # The label, which says most, comes first.
    columns = sorted(metadata_names(items.schema), key=lambda name: name != "label")
    (page / "ids.js").write_bytes(script("ids", _about(manifest, columns, some), ids))
    entries = list(_entries(items, columns, *nearest(folder, manifest, search, items)))
    spread = _by_row(entries, rows, end)
    for first in range(0, end, CHUNKS["rows"]):
        _write_chunk(page, "rows", first // CHUNKS["rows"], spread[first : first + CHUNKS["rows"]])
    found = sorted(path.relative_to(folder).as_posix() for path in page.rglob("*") if path.is_file())
    return tuple(file_entry(folder, name) for name in found)


def _by_row(values: Iterable[Any], rows: Array, end: int) -> list[Any]:
    """The values of some rows, ascending, as a list of all rows up to `end`; null where a row is free."""
    spread: list[Any] = [None] * end
    for row, value in zip(rows.tolist(), values, strict=True):
        spread[row] = value
    return spread


def _digests(items: pa.Table) -> list[str | None]:
    digests: list[str | None] = [None] * len(items)
    return items.column("digest").to_pylist() if "digest" in items.column_names else digests


def _about(manifest: VersionManifest, columns: list[str], pictures: bool) -> dict[str, Any]:
    calibration = manifest.calibration
    return {
        "clips": manifest.clips is not None,
        "columns": columns,
        "items": manifest.items,
        "k": K,
        "max_distance": None if calibration is None else calibration.max_distance,
        "pictures": CHUNKS["pictures"] if pictures else 0,
        "rows": CHUNKS["rows"],
        "space": manifest.space,
    }


def _entries(items: pa.Table, names: list[str], found: Array, distances: Array) -> Iterator[list[Any]]:
    """Item_id, metadata, neighbour rows and distances of each item."""
    columns = [[shown(value) for value in items.column(name).to_pylist()] for name in names]
    for place, item_id in enumerate(items.column("item_id").to_pylist()):
        there = found[place] >= 0
        far = [float(str(distance)) for distance in distances[place][there]]
        yield [item_id, [column[place] for column in columns], found[place][there].tolist(), far]


def _write_pictures(page: Path, ids: list[str | None], digests: list[str | None], pictures: Pictures) -> bool:
    """Writes the pictures of items by row, a chunk at a time; whether there is any, and nothing where there is none."""
    some, size = False, CHUNKS["pictures"]
    for first in range(0, len(ids), size):
        here = zip(ids[first : first + size], digests[first : first + size], strict=True)
        found = [None if item_id is None else pictures(item_id, digest or "") for item_id, digest in here]
        texts = [None if png is None else base64.b64encode(png).decode() for png in found]
        some = some or any(texts)
        _write_chunk(page, "pictures", first // size, texts)
    if not some:
        shutil.rmtree(page / "pictures", ignore_errors=True)
    return some


def _write_chunk(page: Path, kind: str, chunk: int, entries: list[Any]) -> None:
    path = chunk_path(page, kind, chunk)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(script(kind, chunk, entries))
