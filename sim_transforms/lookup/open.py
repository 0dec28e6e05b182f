"""Opens a published version for queries.

version = open_version("work/digits/store")
version = open_version("work/songs/store", memory_budget_mib=2048)  # layout routed: shards opened as they are needed
version = open_version("gs://bucket/songs")  # its files are brought into the cache
for match in version.search_item("digit-0000", k=5): ...
"""

import bisect
import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.hnsw.file_format import read_vector
from sim_transforms.hnsw.open_index import open_index, published_probe, routed_shards
from sim_transforms.hnsw.routed import RoutedShard, check_size
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.version_vectors import VersionVectors
from sim_transforms.lookup.filtered import compare_all, search_allowed
from sim_transforms.lookup.items import HeldItems, Items, PagedItems
from sim_transforms.lookup.where import parse_where
from sim_transforms.records.manifests import FileEntry, VersionManifest
from sim_transforms.settings.stages import SearchSettings
from sim_transforms.storage.cache import VersionCache
from sim_transforms.storage.checksums import crc32c_of
from sim_transforms.storage.leases import READERS, REMOVALS, Hold, fresh_holds
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import INDEX, latest, load_manifest, object_name, search_entries

Array = np.ndarray[Any, Any]

# LATEST is read again so often where its version is gone: gc may remove it once a younger one is published.
_OPENINGS = 5
# Whose rows are kept, 4 bytes each.
_CONDITIONS = 8


@dataclass(slots=True)
class Match:
    """A neighbour: its id, its distance as the commands show it, its metadata."""

    item_id: str
    distance: float
    metadata: dict[str, Any]


class _Nearest(Protocol):
    """What has a distance: an item, or a sound."""

    @property
    def distance(self) -> float:
        """As the commands show it."""
        ...


class OpenVersion:
    """A version that is open for queries.

    Attributes:
        version: its id.
        manifest: its manifest.
        folder: where its files lie on this machine.
        limits: probe and memory budget; without meaning for a merged index, which is held whole.
        lease: keeps gc away where one was asked for: `renew` it well within its time, `close` at the end.
    """

    lease: Hold | None = None

    def __init__(
        self, version: str, manifest: VersionManifest, folder: Path, limits: SearchSettings | None = None
    ) -> None:
        """Opens the files of a version that lies on this machine; the shards of a routed one as queries need them.

        Args:
            limits: the probe of the manifest and no budget where not given.

        Raises:
            DamagedArtefact: a file is not whole; of the shard files existence and size are looked at here.
            UsageError: the memory budget is smaller than the largest shard file.
        """
        self.version, self.manifest, self.folder = version, manifest, folder
        self.limits = limits or SearchSettings(probe=published_probe(manifest))
        check = partial(check_file, folder)
        # Shard files, which stand first, are checked when they are opened.
        for entry in search_entries(manifest)[len(manifest.shard_files) :]:
            check(entry)
        self._items = self._open_items()
        if self._items.count != manifest.items:
            found = f"{self._items.count} items, the manifest {manifest.items}"
            raise DamagedArtefact(f"{folder / 'items.parquet'} holds {found}")
        self._searcher = open_index(folder, manifest, self.limits, check)
        # ef_search is a property of NMSLIB's index object, so that queries of several threads take turns.
        self._lock = threading.Lock()
        self._allowed: OrderedDict[str, Array] = OrderedDict()

    def _open_items(self) -> Items:
        path = self.folder / "items.parquet"
        bounded = self.manifest.index is None and self.limits.memory_budget_mib is not None
        return PagedItems(path) if bounded else HeldItems(path)

    @cached_property
    def items(self) -> pa.Table:
        """Table of row, item_id and metadata, in row order; read whole, even where memory is bounded."""
        return self._items.table if isinstance(self._items, HeldItems) else pq.read_table(self.folder / "items.parquet")

    def search(
        self, vectors: Array, k: int, ef_search: int | None = None, where: str | None = None
    ) -> list[list[Match]]:
        """The nearest items of each of [q, dim] float32 queries, nearest first; fewer than k where there are no more.

        Args:
            vectors: of any length; prepared for the space here.
            k: neighbours of each, at least 1.
            ef_search: search width; the manifest's where not given.
            where: condition on their metadata (`where`); exact where few items meet it.

        Raises:
            UsageError: another dimension, NaN or infinite values, a zero vector in the space cosine, k below 1, or no
                condition.
        """
        # More than there are would be looked for in vain, and room made for them.
        k = min(k, max(self.manifest.items, 1))
        queries = np.asarray(vectors)
        if where is None and queries.shape[:1] == (1,):
            with self._lock:
                alone = self._searcher.search_one(queries[0], k, ef_search or self.manifest.ef_search)
            if alone is not None:
                ids, metadata = self._items.shown(alone[0])
                return [list(map(Match, ids, alone[1], metadata))]
        rows, distances = self.search_rows(vectors, k, ef_search, where)
        # Each row is read once for all queries: where memory is bounded, a row group is decoded for it.
        found = np.unique(rows[rows >= 0])
        shown = dict(zip(found.tolist(), zip(*self._items.shown(found), strict=True), strict=True))
        return [
            [_match(shown[row], distance) for row, distance in zip(r.tolist(), d.tolist(), strict=True) if row >= 0]
            for r, d in zip(rows, distances, strict=True)
        ]

    def search_rows(
        self, vectors: Array, k: int, ef_search: int | None = None, where: str | None = None
    ) -> tuple[Array, Array]:
        """The same as rows [q, k] int32 (-1 where there are no more) and distances [q, k] float32 (infinite there)."""
        queries = self._queries(vectors)
        if where is None:
            return self._search(queries, k, ef_search)
        if k < 1:
            raise UsageError(f"k {k} was given; at least 1 is expected")
        allowed = self.rows_that(where)
        ef = ef_search or self.manifest.ef_search

        def search(asked: Array, width: int) -> tuple[Array, Array]:
            # As much wider than its neighbours as a search for k of them is, or its recall would be lower; and twice as
            # wide, because what is kept of them stands at the far end too, where a narrow search misses most.
            return self._search(asked, width, math.ceil(max(ef / k, 2.0) * width))

        return search_allowed(queries, k, allowed, self.manifest.items, search, partial(self._compare_all, k, allowed))

    def _search(self, queries: Array, k: int, ef_search: int | None) -> tuple[Array, Array]:
        with self._lock:
            return self._searcher.search(queries, k, ef_search or self.manifest.ef_search)

    def _compare_all(self, k: int, rows: Array, queries: Array) -> tuple[Array, Array]:
        space = space_of(self.manifest.space)
        found, native = compare_all(space.prepare(queries), k, rows, self.vectors_at, space)
        shown = space.to_distances(np.where(found >= 0, native, 0))
        return found, np.where(found >= 0, shown, np.float32(np.inf))

    def rows_that(self, where: str) -> Array:
        """[n] int32: rows of the items that meet a condition on their metadata, ascending; raises UsageError."""
        with self._lock:
            found = self._allowed.get(where)
        if found is None:
            found = self._items.rows_that(parse_where(where, self._items.schema))
        with self._lock:
            self._allowed[where] = found
            self._allowed.move_to_end(where)
            while len(self._allowed) > _CONDITIONS:
                self._allowed.popitem(last=False)
        return found

    def search_item(self, item_id: str, k: int, ef_search: int | None = None, where: str | None = None) -> list[Match]:
        """The nearest items of an indexed item, itself left out; raises NotFound."""
        (found,) = self.search(self.vector_of(item_id)[None], k + 1, ef_search, where)
        return [match for match in found if match.item_id != item_id][:k]

    def vector_of(self, item_id: str) -> Array:
        """[dim] float32 of an item, as it stands in the index; raises NotFound."""
        return self.vector_at(self._row_of(item_id))

    def _row_of(self, item_id: str) -> int:
        row = self._items.row_of(item_id)
        if row is None:
            raise NotFound(f"version {self.version} holds no item {item_id!r}")
        return row

    def described(self, rows: Array) -> list[dict[str, Any]]:
        """Item_id and metadata (a mapping) of [n] rows, all different."""
        shown = zip(*self._items.shown(rows), strict=True)
        return [{"item_id": item_id, "metadata": metadata} for item_id, metadata in shown]

    def item(self, item_id: str) -> dict[str, Any]:
        """Item_id and metadata (a mapping) of an item; raises NotFound."""
        return self.described(np.array([self._row_of(item_id)]))[0]

    def live_rows(self) -> Array:
        """[items] int32: rows of all items, ascending."""
        return self._items.rows()

    def records_where(self, column: str, value: str) -> list[dict[str, Any]]:
        """Row, item_id and metadata of the items whose metadata `column`, of text, is `value`, in row order."""
        return self._items.records(self._items.rows_where(column, value))

    def vector_at(self, row: int) -> Array:
        """[dim] float32 of a row, as it stands in the index; reads nothing else. Raises DamagedArtefact."""
        if self.manifest.index is not None:
            return read_vector(self.folder / INDEX, row)
        number = bisect.bisect_right(self.manifest.row_ranges, row, key=lambda r: r.first_row) - 1
        if number < 0 or row >= self.manifest.row_ranges[number].end_row:
            raise DamagedArtefact(f"{self.folder}: row {row} was asked for, but no shard holds it")
        shard = self._shards[number]
        check_size(shard)
        return read_vector(shard.path, row - shard.first_row)

    def vectors_at(self, rows: Array) -> Array:
        """[n, dim] float32, contiguous, of [n] rows, as they stand in the index; raises DamagedArtefact."""
        return self._vectors.at(rows)

    @cached_property
    def _vectors(self) -> VersionVectors:
        return VersionVectors(self.folder, self.manifest)

    @cached_property
    def _shards(self) -> list[RoutedShard]:
        return routed_shards(self.folder, self.manifest)

    def no_match(self, matches: Sequence[_Nearest]) -> bool:
        """Whether the nearest item is farther than the calibrated threshold (or there is none)."""
        calibration = self.manifest.calibration
        if calibration is None:
            return not matches
        return not matches or matches[0].distance > calibration.max_distance

    def close(self) -> None:
        """Releases the lease; nothing where there is none."""
        if self.lease is not None:
            self.lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _queries(self, vectors: Array) -> Array:
        queries = np.asarray(vectors, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.manifest.dimension:
            raise UsageError(f"queries of shape {queries.shape}; [q, {self.manifest.dimension}] is expected")
        if not np.isfinite(queries).all():
            raise UsageError("a query holds NaN or infinite values")
        if self.manifest.space == "cosine" and not queries.any(axis=1).all():
            raise UsageError("a query is the zero vector, which has no direction in the space cosine")
        return queries


def _match(shown: tuple[str, dict[str, Any]], distance: float) -> Match:
    """One of several that may show the same item."""
    item_id, metadata = shown
    return Match(item_id, distance, dict(metadata))


@dataclass(frozen=True)
class _Limits:
    """As a caller gives them."""

    probe: int | None
    memory_budget_mib: int | None

    def of(self, manifest: VersionManifest) -> SearchSettings:
        """The limits with which a version is searched; raises UsageError."""
        probe = published_probe(manifest) if self.probe is None else self.probe
        try:
            return SearchSettings(probe=probe, memory_budget_mib=self.memory_budget_mib)
        except ValueError as error:
            raise UsageError(str(error)) from error


def open_version(
    store_url: str,
    version: str | None = None,
    probe: int | None = None,
    memory_budget_mib: int | None = None,
    cache: VersionCache | None = None,
    lease: bool = False,
) -> OpenVersion:
    """Opens a version of a store, LATEST where none is named.

    Args:
        store_url: of the published versions.
        version: id.
        probe: shards in which each query is searched; where not given, as many as its recall was measured with.
        memory_budget_mib: MiB of shard files that are open at once; no limit where not given. Both have no meaning for
            a merged index, which is one file.
        cache: of a remote store's files, which stay in it while the version is open; in the user's cache folder where
            not given. Without meaning for a store on this machine.
        lease: take a lease, so that gc leaves the version alone as long as it is renewed. For readers that live long;
            the store must be writable. Without it a fixed number of objects is read, and nothing is written.

    Raises:
        NotFound: no such version, or nothing is published.
        StoreError: a remote store cannot be used.
        DamagedArtefact: a file is missing or differs from the manifest.
        UsageError: probe or budget below 1, or a budget smaller than the largest shard file.
    """
    store = open_store(store_url)
    for _ in range(_OPENINGS):
        chosen = version or latest(store)
        if chosen is None:
            raise NotFound(f"{store.url}: nothing is published there (no LATEST)")
        try:
            return _open(store, chosen, _Limits(probe, memory_budget_mib), lease, cache)
        except (NotFound, DamagedArtefact):
            if version or latest(store) == chosen:
                raise
    raise NotFound(f"{store.url}: LATEST was moved, and its version removed, {_OPENINGS} times while it was opened")


def _open(store: ObjectStore, version: str, limits: _Limits, lease: bool, cache: VersionCache | None) -> OpenVersion:
    with ExitStack() as undone:
        held = undone.enter_context(Hold(store, READERS, version)) if lease else None
        if lease and fresh_holds(store, REMOVALS, version) and latest(store) != version:
            raise NotFound(f"{store.url}: gc is removing version {version}")
        manifest = load_manifest(store, version)
        folder, release = _local_folder(store, version), None
        search = limits.of(manifest)
        if folder is None:
            files = (cache or VersionCache()).hold(store, version, manifest)
            folder, release = files.path, files.release
            undone.callback(release)
        opened = _open_files(version, manifest, folder, search)
        opened.lease = held
        if release is not None:
            weakref.finalize(opened, release)
        undone.pop_all()
    return opened


def _open_files(version: str, manifest: VersionManifest, folder: Path, limits: SearchSettings) -> OpenVersion:
    try:
        return OpenVersion(version, manifest, folder, limits)
    except (OSError, RuntimeError) as error:
        # NMSLIB says RuntimeError where its file went between our checks and its reading.
        raise DamagedArtefact(f"{folder}: a file of the version went, or cannot be read: {error}") from error


def version_folder(
    store: ObjectStore, version: str, cache: VersionCache | None = None, *, with_page: bool = False
) -> Path:
    """Where a version's files lie on this machine; a remote store's are brought, and stay until the process ends.

    Args:
        store: that holds the version.
        version: its id.
        cache: of a remote store's files; in the user's cache folder where not given.
        with_page: bring the files of its page too.

    Raises:
        NotFound: no such version in a remote store, or one of its files.
        DamagedArtefact: a file of a remote store differs from the manifest.
    """
    folder = _local_folder(store, version)
    if folder is not None:
        return folder
    return (cache or VersionCache()).hold(store, version, load_manifest(store, version), with_page=with_page).path


def _local_folder(store: ObjectStore, version: str) -> Path | None:
    """Where a version's files can be opened in place, or null for a remote store."""
    path = store.local_path(object_name(version, "manifest.json"))
    return path.parent if path is not None else None


def check_file(folder: Path, entry: FileEntry) -> None:
    """Compares a file with its entry: its size and its CRC32C, which costs 0.1 s for each GiB in memory.

    Raises:
        DamagedArtefact: it is missing or differs.
    """
    path = folder / entry.name
    if not path.is_file():
        raise DamagedArtefact(f"{path} is missing from its version")
    size = path.stat().st_size
    if size != entry.size_bytes:
        raise DamagedArtefact(f"{path} holds {size} bytes, its manifest says {entry.size_bytes}")
    if crc32c_of(path) != entry.crc32c:
        raise DamagedArtefact(f"{path} differs from its checksum")
