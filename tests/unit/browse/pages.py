"""A version with a page, made by the real functions, and its data read back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.browse.page import with_page
from sim_transforms.browse.pictures import Pictures, no_pictures
from sim_transforms.hnsw.patch_whole import Change, parts_of_whole, patch_whole
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.settings.stages import CatalogSettings, IndexSettings, Settings
from sim_transforms.storage.checksums import file_entry, index_file
from tests.unit.storage.published import version_folder

# Of a catalog whose owner means no good, or who writes from right to left.
HOSTILE = (
    "</script><script>alert(1)</script>",
    "quote\" and 'quote' and \\ and `${x}`",
    "line\u2028paragraph\u2029end",
    "emoji 🦊 family 👨‍👩‍👧",
    "עברית ומספר 7",
    "<img src=x onerror=alert(1)>",
    "__proto__",
    "a&b=c#d?e %20 +",
)
_BUILT = IndexSettings(shard_items=30)


def page_settings(page_items: int = 1000) -> Settings:
    """Settings under which versions have a page."""
    return Settings(name="x", catalog=CatalogSettings(source="x"), index=IndexSettings(page_items=page_items))


def ids_of(vectors: np.ndarray) -> list[str]:
    """By row: the hostile ones, then `item-<row>`."""
    return [*HOSTILE, *(f"item-{row}" for row in range(len(HOSTILE), len(vectors)))][: len(vectors)]


def paged_version(
    folder: Path, vectors: np.ndarray, pictures: Pictures = no_pictures, gone: tuple[int, ...] = (), **columns: Any
) -> VersionManifest:
    """Writes a version with a page; the manifest.

    Args:
        folder: of the version.
        vectors: of the items; their rows are others.
        pictures: of the page.
        gone: rows that are free, as a patch leaves them.
        columns: of items.parquet, by row.
    """
    described = version_folder(folder, vectors)
    if gone:
        _free(folder, vectors, gone)
    size = (folder / "index.hnsw").stat().st_size
    columns = {"item_id": ids_of(vectors), "digest": [f"d{row}" for row in range(len(vectors))], **columns}
    table = pa.table({"row": pa.array(range(len(vectors)), pa.int32()), **columns})
    table = table.take(pa.array([row for row in range(len(vectors)) if row not in gone], pa.int32()))
    pq.write_table(table, folder / "items.parquet")
    files = (file_entry(folder, "items.parquet"),)
    described = replace(described, items=len(table), index=index_file(folder / "index.hnsw", [size]), files=files)
    return with_page(folder, described, page_settings(), pictures)


def _free(folder: Path, vectors: np.ndarray, gone: tuple[int, ...]) -> None:
    ranges, centroids = parts_of_whole(vectors, [str(place) for place in range(len(vectors))], _BUILT)
    none = np.zeros((0, vectors.shape[1]), np.float32)
    change = Change(np.array(gone, np.int32), none, np.zeros(0, np.int8))
    parts = ranges, centroids, np.zeros(0, np.int32)
    patch_whole(folder / "index.hnsw", folder / "patched.hnsw", change, parts, _BUILT)
    (folder / "patched.hnsw").replace(folder / "index.hnsw")


def arguments(path: Path) -> Any:
    """What a data script gives to the page: about, and the entries."""
    text = path.read_bytes().decode("ascii")
    name, _, inner = text.partition("(")
    assert name in ("ruiji.ids", "ruiji.rows", "ruiji.pictures")
    assert not set(text) & set("<>&")
    return json.loads(f"[{inner.strip().removesuffix(')')}]")


def rows_of(folder: Path) -> list[Any]:
    """The entries of all rows of a version's page."""
    return [entry for path in sorted((folder / "page" / "rows").glob("*.js")) for entry in arguments(path)[1]]


def pictures_of(folder: Path) -> dict[str, str | None]:
    """Picture of each item of a version's page; empty where it shows none."""
    if not (folder / "page" / "pictures").is_dir():
        return {}
    found = [e for path in sorted((folder / "page" / "pictures").glob("*.js")) for e in arguments(path)[1]]
    return {row[0]: picture for row, picture in zip(rows_of(folder), found, strict=True) if row is not None}
