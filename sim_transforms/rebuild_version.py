"""A published version and a change -> `embeddings/` of what is live afterwards, so that an index can be built anew."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.hnsw.version_vectors import VersionVectors
from sim_transforms.publish_patch import CatalogChange, cast_items, write_patched_items
from sim_transforms.records.batches import Array, column_of, embeddings_schema
from sim_transforms.records.ledger import LedgerTotals
from sim_transforms.records.manifests import EmbeddingsManifest, VersionManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file

_GROUP = 16_384


def write_live_embeddings(
    published: Path, manifest: VersionManifest, change: CatalogChange, folder: Path
) -> EmbeddingsManifest:
    """Writes the artefact into the empty `folder`, a part of the version at a time.

    Args:
        published: folder of the version's files.
        manifest: of the version.
        change: what is different now.
        folder: for the artefact.
    """
    schema = embeddings_schema(manifest.dimension, change.metadata_columns)
    items = folder / "items.rows"
    # Rows after the last one stand for what is new: it has no row yet.
    first = manifest.row_ranges[-1].end_row if manifest.row_ranges else 0
    fresh_rows = np.arange(first, first + change.fresh.num_rows, dtype=np.int32)
    write_patched_items(published / "items.parquet", items, change, fresh_rows)
    names, known_vectors = [], VersionVectors(published, manifest)
    with pq.ParquetWriter(folder / "embeddings-00000-of-00001.parquet", schema) as writer:
        names.append("embeddings-00000-of-00001.parquet")
        for batch in pq.ParquetFile(items).iter_batches(_GROUP):
            table = pa.Table.from_batches([batch])
            rows = table.column("row").to_numpy()
            vectors = _vectors(known_vectors, rows, change, first)
            known = cast_items(table.append_column("embedding", column_of(vectors)), schema)
            writer.write_table(known)
    items.unlink()
    count = pq.ParquetFile(folder / names[0]).metadata.num_rows
    described = EmbeddingsManifest(
        items=count,
        dimension=manifest.dimension,
        space=manifest.space,
        model=manifest.model,
        catalog_digest=change.digest,
        metadata_columns=change.metadata_columns,
        clips=manifest.clips,
        inferences=change.fresh.num_rows,
        ledger=LedgerTotals(count, count, 0, 0),
        files=tuple(file_entry(folder, name) for name in names),
    )
    write_file(folder / "manifest.json", described.text().encode())
    return described


def _vectors(published: VersionVectors, rows: Array, change: CatalogChange, first: int) -> Array:
    """[n, d] float32 of rows; those from `first` on are the change's."""
    old = rows < first
    kept = published.at(rows[old])
    vectors = np.empty((len(rows), kept.shape[1]), np.float32)
    vectors[old] = kept
    column = change.fresh.column("embedding").combine_chunks()
    flat = column.flatten().to_numpy().reshape(-1, kept.shape[1]) if len(column) else vectors[:0]
    vectors[~old] = flat[rows[~old] - first]
    return vectors
