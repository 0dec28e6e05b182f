"""What `ruiji duplicates` and `ruiji cluster` make of the graph that a job has written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.commands.published import Opened
from sim_transforms.hnsw.version_vectors import VersionVectors
from sim_transforms.quality.graph import NeighborGraph, communities, near_duplicates, repeated_rows
from sim_transforms.records.batches import metadata_names
from sim_transforms.records.clips import SOURCE_ID
from sim_transforms.records.codec import canonical_json
from sim_transforms.records.manifests import ClustersManifest, DuplicatesManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]

_DUPLICATES, _CLUSTERS = "duplicates.parquet", "clusters.parquet"
_BLOCK = 65_536


def read_graph(files: Path, opened: Opened, k: int) -> NeighborGraph:
    """The graph of the items of a version, in the order of items.parquet.

    Args:
        files: folder of the Parquet files of `find_neighbors.PLACES_SCHEMA`.
        opened: the version.
        k: neighbours that each item may have.
    """
    size = opened.manifest.items
    k = min(k, max(size - 1, 0))
    neighbors, distances = np.full((size, k), -1, np.int32), np.full((size, k), np.inf, np.float32)
    for path in sorted(files.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches():
            lists = batch.column("neighbors")
            lengths = np.diff(lists.offsets.to_numpy())
            places = np.repeat(batch.column("place").to_numpy(), lengths)
            slots = np.arange(len(places)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            neighbors[places, slots] = lists.flatten().to_numpy()
            distances[places, slots] = batch.column("distances").flatten().to_numpy()
    return NeighborGraph(neighbors, distances, repeated_rows(_vectors(opened)))


def write_duplicates(graph: NeighborGraph, opened: Opened, max_distance: float, folder: Path) -> DuplicatesManifest:
    """Writes `duplicates.parquet` and its manifest: the items in groups, largest group first.

    Columns: group, item_id, kept (one of each group), distance to the nearest of the group, and the metadata; where
    those of the catalog have one of these names, as `metadata.<name>`. Clips of one sound are no duplicates of one
    another.
    """
    found = near_duplicates(graph, max_distance, _sounds(opened))
    places = found.groups.rows
    table = pq.read_table(opened.folder / "items.parquet").take(pa.array(places))
    numbers = np.repeat(np.arange(len(found.groups), dtype=np.int32), np.diff(found.groups.begins))
    columns = {
        "group": pa.array(numbers),
        "item_id": table.column("item_id"),
        "kept": pa.array(found.kept[places]),
        "distance": pa.array(found.nearest[places]),
    }
    for name in metadata_names(table.schema):
        columns[f"metadata.{name}" if name in columns else name] = table.column(name)
    pq.write_table(pa.table(columns), folder / _DUPLICATES)
    manifest = DuplicatesManifest(
        version=opened.version,
        space=opened.manifest.space,
        k=graph.neighbors.shape[1],
        max_distance=max_distance,
        items=len(graph),
        groups=len(found.groups),
        grouped=len(places),
        full=found.full,
        files=(file_entry(folder, _DUPLICATES),),
    )
    write_file(folder / "manifest.json", canonical_json(manifest).encode())
    return manifest


def write_clusters(
    graph: NeighborGraph, opened: Opened, resolution: float, seed: int, folder: Path
) -> ClustersManifest:
    """Writes `clusters.parquet` (item_id, cluster) in the order of items.parquet, and its manifest."""
    found = communities(graph, resolution, seed)
    items = pq.ParquetFile(opened.folder / "items.parquet")
    schema = pa.schema([("item_id", pa.string()), ("cluster", pa.int32())])
    begin = 0
    with pq.ParquetWriter(folder / _CLUSTERS, schema) as writer:
        for batch in items.iter_batches(columns=["item_id"]):
            numbers = pa.array(found.numbers[begin : begin + len(batch)])
            writer.write_batch(pa.record_batch([batch.column("item_id"), numbers], schema=schema))
            begin += len(batch)
    manifest = ClustersManifest(
        version=opened.version,
        space=opened.manifest.space,
        k=graph.neighbors.shape[1],
        resolution=resolution,
        seed=seed,
        items=len(graph),
        clusters=len(found.sizes),
        largest=int(found.sizes.max(initial=0)),
        modularity=found.modularity,
        files=(file_entry(folder, _CLUSTERS),),
    )
    write_file(folder / "manifest.json", canonical_json(manifest).encode())
    return manifest


def _sounds(opened: Opened) -> Array | None:
    """[n] int64 number of the sound that each clip is of; null where items are no clips."""
    if opened.manifest.clips is None:
        return None
    sounds = pq.read_table(opened.folder / "items.parquet", columns=[SOURCE_ID]).column(SOURCE_ID)
    return np.asarray(sounds.combine_chunks().dictionary_encode().indices, np.int64)


def _vectors(opened: Opened) -> Iterator[Array]:
    vectors = VersionVectors(opened.folder, opened.manifest)
    for batch in pq.ParquetFile(opened.folder / "items.parquet").iter_batches(_BLOCK, columns=["row"]):
        yield vectors.at(batch.column("row").to_numpy())
