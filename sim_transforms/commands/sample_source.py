"""What a sample is drawn from: files of vectors, or examples with the model that will embed them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq

from sim_transforms.errors import NotFound
from sim_transforms.quality.sample import Drawn, draw
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest, ModelManifest, holds_embeddings
from sim_transforms.records.vectors import VectorBatch, VectorSource
from sim_transforms.runs.digests import settings_digest, tree_digest
from sim_transforms.storage.vector_files import plan_parquet, plan_vectors, read_piece

Array = np.ndarray[Any, Any]


class SampleSource(Protocol):
    """Items with vectors, of which some are drawn.

    Attributes:
        items: in all.
        dimension: of the vectors.
        row_bytes: mean bytes of an item's further columns in Arrow.
        file_bytes: of the files that hold the vectors, or will.
        digest: of the source; the same where nothing has changed.
        embed_core_seconds: of one item through the model, as the last draw took it; 0 where vectors are read.
    """

    items: int
    dimension: int
    row_bytes: float
    file_bytes: int
    digest: str
    embed_core_seconds: float

    def draw(self, count: int, seed: int) -> Drawn:
        """The `count` items of the lowest hashes."""


def open_source(path: Path, ids: Path | None = None) -> SampleSource:
    """Opens `embeddings/`, a Parquet file, a folder of Parquet files, or a .npy file.

    Args:
        path: what `--embeddings` names.
        ids: a text file of one id a line, for .npy files; without it the row number is the id.

    Raises:
        UsageError: there is no such path, or it holds no vectors; says what was found and what is expected.
    """
    if not holds_embeddings(path):
        source = plan_vectors(path, ids)
        return VectorFiles.of(source, settings_digest(source.files))
    manifest = EmbeddingsManifest.load(path)
    files = [path / entry.name for entry in manifest.files]
    return VectorFiles.of(plan_parquet(files, manifest.dimension), tree_digest(path))


@dataclass
class VectorFiles:
    """Files of vectors, read as the index reads them."""

    source: VectorSource
    items: int
    dimension: int
    row_bytes: float
    file_bytes: int
    digest: str
    embed_core_seconds: float = 0.0

    @classmethod
    def of(cls, source: VectorSource, digest: str) -> "VectorFiles":
        """Reads the first batch, for the bytes of the columns beside the vectors."""
        batches = (batch for piece in source.pieces for batch in read_piece(piece, source.dimension))
        first = next((batch.columns for batch in batches if batch.columns.num_rows), None)
        row_bytes = first.nbytes / first.num_rows if first is not None else 0.0
        sizes = sum(size for _, size, _ in source.files)
        return cls(source, source.items, source.dimension, row_bytes, sizes, digest)

    def draw(self, count: int, seed: int) -> Drawn:
        """Reads every file once; rows without an id or a vector are not drawn."""
        pieces = self.source.pieces
        return draw((_whole(b) for piece in pieces for b in read_piece(piece, self.dimension)), count, seed)


def _whole(batch: VectorBatch) -> tuple[list[str], Array]:
    """(ids, vectors) of the rows that have both."""
    ids = batch.columns.column("item_id").to_pylist()
    rows = [row for row, reason in enumerate(batch.reasons) if reason is None and ids[row] is not None]
    return [ids[row] for row in rows], batch.vectors[rows]


@dataclass
class ExamplesSource:
    """Examples that have not been embedded yet: what is drawn goes through the model."""

    examples: Path
    model: Path
    items: int
    dimension: int
    row_bytes: float
    file_bytes: int
    digest: str
    embed_core_seconds: float = 0.0

    @classmethod
    def open(cls, examples: Path, model: Path) -> "ExamplesSource":
        """Reads the manifests; label and metadata are counted as 16 bytes each, the digest as it is."""
        described, trained = ExamplesManifest.load(examples), ModelManifest.load(model)
        row_bytes = _mean_id_bytes(examples) + 64 + 8 + 16.0 * (1 + len(described.metadata_columns))
        size = trained.embedding_size
        written = round(described.items * (4 * size + row_bytes))
        return cls(examples, model, described.items, size, row_bytes, written, examples_digest(examples, model))

    def draw(self, count: int, seed: int) -> Drawn:
        """Embeds the items that are drawn, and notes how long one took."""
        from sim_transforms.commands.artefacts import DecodedMedia
        from sim_transforms.embedding.saved_model import SavedModelEmbedder

        table = pq.read_table(self.examples / "offsets.parquet", columns=["item_id"])
        ids = table.column("item_id").to_pylist()
        # Drawn by id alone: vectors of no dimension.
        drawn = draw([(ids, np.zeros((len(ids), 0), np.float32))], count, seed)
        if not drawn.item_ids:
            return Drawn((), np.zeros((0, self.dimension), np.float32))
        media = DecodedMedia(self.examples)
        embedder = SavedModelEmbedder.load(str(self.model), os.cpu_count())
        pixels = [media.pixels([item_id])[0].tobytes() for item_id in drawn.item_ids]
        embedder.embed(pixels[:1])
        began = time.process_time()
        vectors = embedder.embed(pixels)
        self.embed_core_seconds = (time.process_time() - began) / len(pixels)
        return Drawn(drawn.item_ids, vectors)


def examples_digest(examples: Path, model: Path) -> str:
    """Digest of an ExamplesSource."""
    return settings_digest([tree_digest(examples), tree_digest(model)])


def _mean_id_bytes(examples: Path) -> float:
    path = examples / "offsets.parquet"
    if not path.is_file():
        raise NotFound(f"{path} is missing; run `ruiji preprocess` again")
    column = pq.read_table(path, columns=["item_id"]).column("item_id")
    return float(column.nbytes / max(len(column), 1))
