"""A published version -> the nearest of every item, as Parquet, for recommendations and for graphs.

Each file holds the items of some row groups of items.parquet, in their order, so that the files are the same whoever
writes them. A worker process opens the index once, and holds it and the ids of all items.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.counters import count
from sim_transforms.hnsw.open_index import open_index
from sim_transforms.hnsw.searcher import Searcher
from sim_transforms.hnsw.version_vectors import VersionVectors
from sim_transforms.records.ledger import LedgerEntry
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.settings.stages import SearchSettings
from sim_transforms.storage.files import replace_file

Array = np.ndarray[Any, Any]

STAGE = "neighbors"
# Items of a file, about: a row group holds 8,192.
FILE_GROUPS = 12
_BLOCK = 1024
SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("neighbors", pa.list_(pa.string())),
        # As the commands show them, ascending.
        ("distances", pa.list_(pa.float32())),
    ]
)
# Of a graph: places in items.parquet from 0 in place of ids.
PLACES_SCHEMA = pa.schema(
    [("place", pa.int32()), ("neighbors", pa.list_(pa.int32())), ("distances", pa.list_(pa.float32()))]
)


@dataclass(frozen=True)
class NeighborsJob:
    """What all workers know.

    Attributes:
        folder: of the version's files, which all workers see.
        manifest: of the version.
        limits: how a routed version is searched.
        output: folder of the Parquet files.
        k: neighbours of each item, itself left out.
        places: write places in items.parquet, as a graph is made of, in place of ids.
    """

    folder: str
    manifest: VersionManifest
    limits: SearchSettings
    output: str
    k: int
    places: bool = False

    @property
    def schema(self) -> pa.Schema:
        """Of the files."""
        return PLACES_SCHEMA if self.places else SCHEMA


@dataclass
class FindNeighbors(beam.PTransform):
    """Pipeline -> LedgerEntry of each file, having written it."""

    job: NeighborsJob

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[LedgerEntry]:
        """Spreads the files over the workers."""
        files = range(file_count(Path(self.job.folder)))
        numbered = pipeline | "Files" >> beam.Create(files) | "Spread" >> beam.Reshuffle()
        return numbered | "Search" >> beam.Map(write_neighbors, self.job)


def file_count(folder: Path) -> int:
    """Files that the items of a version are written to."""
    return -(-pq.ParquetFile(folder / "items.parquet").metadata.num_row_groups // FILE_GROUPS)


def file_name(number: int, count: int) -> str:
    """Of one of so many files."""
    return f"neighbors-{number:05d}-of-{count:05d}.parquet"


def write_neighbors(number: int, job: NeighborsJob) -> LedgerEntry:
    """Searches the items of one file and writes it."""
    folder, written = Path(job.folder), 0
    items = pq.ParquetFile(folder / "items.parquet")
    groups = range(items.metadata.num_row_groups)[number * FILE_GROUPS : (number + 1) * FILE_GROUPS]
    name = file_name(number, file_count(folder))
    with replace_file(Path(job.output) / name) as temporary, pq.ParquetWriter(temporary, job.schema) as writer:
        for group in groups:
            rows = items.read_row_group(group, columns=["row"]).column("row").to_numpy()
            for start in range(0, len(rows), _BLOCK):
                batch = nearest(rows[start : start + _BLOCK], job)
                writer.write_batch(batch)
                written += batch.num_rows
    asked = sum(items.metadata.row_group(group).num_rows for group in groups)
    return count(LedgerEntry(STAGE, name, asked, written))


def nearest(rows: Array, job: NeighborsJob) -> pa.RecordBatch:
    """Some items, [n] int32 rows, with their k nearest."""
    opened = _opened(job)
    # NMSLIB's width of search is a property of the index, and a routed one opens and closes shards.
    with opened.lock:
        found, distances = opened.searcher.search(opened.vectors.at(rows), job.k + 1, job.manifest.ef_search)
    found, distances = drop_own(found, distances, rows, job.k)
    there = found >= 0
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    own, others = (pa.array(opened.places[asked].astype(np.int32)) for asked in (rows, found[there]))
    if not job.places:
        own, others = opened.ids.take(own), opened.ids.take(others)
    lists = [pa.ListArray.from_arrays(ends, values) for values in (others, pa.array(distances[there]))]
    return pa.record_batch([own, *lists], schema=job.schema)


def drop_own(found: Array, distances: Array, rows: Array, k: int) -> tuple[Array, Array]:
    """[q, k + 1] answers, nearest first -> [q, k] without the query's own row; where it is not there the last goes."""
    others = found != rows[:, None]
    others[others.all(axis=1), -1] = False
    return found[others].reshape(len(rows), k), distances[others].reshape(len(rows), k)


@dataclass(frozen=True)
class _Opened:
    """A version as a worker process holds it.

    Attributes:
        ids: of all items, in the order of items.parquet.
        places: [rows] int64 place of each row there.
    """

    searcher: Searcher
    ids: pa.Array
    places: Array
    vectors: VersionVectors
    lock: threading.Lock


# Of this process, whose threads share it: the version that was searched last.
_HELD: dict[str, _Opened] = {}
_ONE_AT_A_TIME = threading.Lock()


def _opened(job: NeighborsJob) -> _Opened:
    with _ONE_AT_A_TIME:
        if job.folder not in _HELD:
            _HELD.clear()
            _HELD[job.folder] = _open(job)
        return _HELD[job.folder]


def _open(job: NeighborsJob) -> _Opened:
    folder = Path(job.folder)
    table = pq.read_table(folder / "items.parquet", columns=["row", "item_id"])
    rows = table.column("row").to_numpy()
    places = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
    places[rows] = np.arange(len(rows))
    ids = table.column("item_id").combine_chunks()
    vectors = VersionVectors(folder, job.manifest)
    return _Opened(open_index(folder, job.manifest, job.limits), ids, places, vectors, threading.Lock())
