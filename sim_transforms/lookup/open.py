"""Opens a published version for queries.

version = open_version("work/digits/store")
for match in version.search_item("digit-0000", k=5): ...
"""

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.hnsw.file_format import read_vector
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.records.manifests import FileEntry, VersionManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import INDEX, file_entries, latest, load_manifest, object_name

Array = np.ndarray[Any, Any]

# Files up to this size are read whole when a version is opened; larger ones are compared by size, and by
# `ruiji versions verify` in full.
CHECKED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Match:
    """A neighbour: its id, its distance as the commands show it, its metadata."""

    item_id: str
    distance: float
    metadata: dict[str, Any]


class OpenVersion:
    """A version that is open for queries.

    Attributes:
        version: its id.
        manifest: its manifest.
        folder: where its files lie on this machine.
        items: Table of row, item_id and metadata, in row order.
    """

    def __init__(self, version: str, manifest: VersionManifest, folder: Path) -> None:
        """Opens the files of a version that lies on this machine; raises DamagedArtefact where one is not whole."""
        self.version, self.manifest, self.folder = version, manifest, folder
        for entry in file_entries(manifest):
            check_file(folder, entry)
        self.items = pq.read_table(folder / "items.parquet")
        if self.items.num_rows != manifest.items:
            found = f"{self.items.num_rows} items, the manifest {manifest.items}"
            raise DamagedArtefact(f"{folder / 'items.parquet'} holds {found}")
        rows = manifest.row_ranges[-1].end_row if manifest.row_ranges else 0
        self._searcher = NativeSearcher(folder / INDEX, manifest.space, rows, manifest.dimension)
        # ef_search is a property of NMSLIB's index object, so that queries of several threads take turns.
        self._lock = threading.Lock()

    def search(self, vectors: Array, k: int, ef_search: int | None = None) -> list[list[Match]]:
        """The nearest items of each of [q, dim] float32 queries, nearest first; fewer than k where there are no more.

        Args:
            vectors: of any length; prepared for the space here.
            k: neighbours of each, at least 1.
            ef_search: search width; the manifest's where not given.

        Raises:
            UsageError: another dimension, NaN or infinite values, a zero vector in the space cosine, k below 1.
        """
        rows, distances = self.search_rows(vectors, k, ef_search)
        return [self._matches(r[r >= 0], d[r >= 0]) for r, d in zip(rows, distances, strict=True)]

    def search_rows(self, vectors: Array, k: int, ef_search: int | None = None) -> tuple[Array, Array]:
        """The same as rows [q, k] int32 (-1 where there are no more) and distances [q, k] float32 (infinite there)."""
        queries = self._queries(vectors)
        with self._lock:
            return self._searcher.search(queries, k, ef_search or self.manifest.ef_search)

    def search_item(self, item_id: str, k: int, ef_search: int | None = None) -> list[Match]:
        """The nearest items of an indexed item, itself left out; raises NotFound."""
        (found,) = self.search(self.vector_of(item_id)[None], k + 1, ef_search)
        return [match for match in found if match.item_id != item_id][:k]

    def vector_of(self, item_id: str) -> Array:
        """[dim] float32 of an item, as it stands in the index; raises NotFound."""
        place = pc.index(self.items.column("item_id"), pa.scalar(item_id)).as_py()
        if place < 0:
            raise NotFound(f"version {self.version} holds no item {item_id!r}")
        return read_vector(self.folder / INDEX, self.items.column("row")[place].as_py())

    def no_match(self, matches: list[Match]) -> bool:
        """Whether the nearest item is farther than the calibrated threshold (or there is none)."""
        calibration = self.manifest.calibration
        if calibration is None:
            return not matches
        return not matches or matches[0].distance > calibration.max_distance

    def _queries(self, vectors: Array) -> Array:
        queries = np.asarray(vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.manifest.dimension:
            raise UsageError(f"queries of shape {queries.shape}; [q, {self.manifest.dimension}] is expected")
        if not np.isfinite(queries).all():
            raise UsageError("a query holds NaN or infinite values")
        if self.manifest.space == "cosine" and not queries.any(axis=1).all():
            raise UsageError("a query is the zero vector, which has no direction in the space cosine")
        return queries

    def _matches(self, rows: Array, distances: Array) -> list[Match]:
        places = self._places[rows] if not len(rows) or rows.max() < len(self._places) else np.array([-1])
        if (places < 0).any():
            raise DamagedArtefact(f"{self.folder}: index.hnsw answers with a row that items.parquet does not hold")
        taken = self.items.take(pa.array(places)).to_pylist()
        return [
            Match(row.pop("item_id"), float(distance), {n: v for n, v in row.items() if n not in ("row", "digest")})
            for row, distance in zip(taken, distances, strict=True)
        ]

    @cached_property
    def _places(self) -> Array:
        """[rows] int64: place in `items` of each row, -1 for free rows."""
        rows = self.items.column("row").to_numpy()
        places = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
        places[rows] = np.arange(len(rows))
        return places


def open_version(store_url: str, version: str | None = None) -> OpenVersion:
    """Opens a version of a store, LATEST where none is named.

    Raises:
        NotFound: no such version, or nothing is published.
        DamagedArtefact: a file is missing or differs from the manifest.
    """
    store = open_store(store_url)
    chosen = version or latest(store)
    if chosen is None:
        raise NotFound(f"{store.url}: nothing is published there (no LATEST)")
    return OpenVersion(chosen, load_manifest(store, chosen), version_folder(store, chosen))


def version_folder(store: ObjectStore, version: str) -> Path:
    """Where a version's files lie on this machine."""
    path = store.local_path(object_name(version, "manifest.json"))
    if path is None:
        raise UsageError(f"{store.url}: versions can be opened from local folders alone")
    return path.parent


def check_file(folder: Path, entry: FileEntry) -> None:
    """Compares a file with its entry: its size, and its checksum where it is small.

    Raises:
        DamagedArtefact: it is missing or differs.
    """
    path = folder / entry.name
    if not path.is_file():
        raise DamagedArtefact(f"{path} is missing from its version")
    size = path.stat().st_size
    if size != entry.size_bytes:
        raise DamagedArtefact(f"{path} holds {size} bytes, its manifest says {entry.size_bytes}")
    if size <= CHECKED_BYTES and file_entry(folder, entry.name).crc32c != entry.crc32c:
        raise DamagedArtefact(f"{path} differs from its checksum")
