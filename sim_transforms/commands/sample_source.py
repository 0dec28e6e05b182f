"""Vectors that a sample is drawn from: `embeddings/`, Parquet files, a .npy file, or examples with their model."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.errors import NotFound, UsageError
from sim_transforms.quality.sample import Drawn, draw
from sim_transforms.records.batches import vectors_of
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest, ModelManifest
from sim_transforms.runs.digests import settings_digest, tree_digest

Array = np.ndarray[Any, Any]

BATCH_ROWS = 4096
# What the index leaves behind when it reads embeddings.
_LEFT_BEHIND = ("embedding", "split")


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
    if path.suffix == ".npy":
        return NumpySource.open(path, ids)
    if ids is not None:
        raise UsageError(f"--ids goes with a .npy file; {path} holds its own item_id")
    if (path / "manifest.json").is_file():
        manifest = EmbeddingsManifest.load(path)
        paths = [path / entry.name for entry in manifest.files]
        if not manifest.items:
            return ParquetSource(paths, 0, manifest.dimension, 0.0, 0, tree_digest(path))
        return ParquetSource.open(paths, tree_digest(path))
    if path.is_dir():
        return ParquetSource.open(sorted(path.glob("*.parquet")), None, str(path))
    if not path.is_file():
        raise UsageError(f"--embeddings: there is no {path}; a Parquet file or folder, or a .npy file is expected")
    return ParquetSource.open([path], None)


@dataclass
class ParquetSource:
    """Parquet files of item_id and embedding."""

    paths: Sequence[Path]
    items: int
    dimension: int
    row_bytes: float
    file_bytes: int
    digest: str
    embed_core_seconds: float = 0.0

    @classmethod
    def open(cls, paths: Sequence[Path], digest: str | None, folder: str = "") -> "ParquetSource":
        """Reads the files' footers and the first batch; `digest` of names, sizes and times where none is given."""
        if not paths:
            raise UsageError(f"{folder or '--embeddings'} holds no Parquet file; item_id and embedding are expected")
        items = sum(_rows(path) for path in paths)
        first = next((batch for path in paths for batch in _batches(path, None)), None)
        if first is None:
            raise UsageError(f"{paths[0]} holds no items; at least one is expected")
        vectors = _vectors(first.column("embedding"), paths[0])
        further = first.drop_columns([name for name in _LEFT_BEHIND if name in first.schema.names])
        sizes = sum(path.stat().st_size for path in paths)
        row_bytes = pa.Table.from_batches([further]).nbytes / len(first)
        return cls(paths, items, vectors.shape[1], row_bytes, sizes, digest or _stat_digest(paths))

    def draw(self, count: int, seed: int) -> Drawn:
        """Reads every file once."""
        return draw((batch for path in self.paths for batch in self._read(path)), count, seed)

    def _read(self, path: Path) -> Iterator[tuple[list[str], Array]]:
        for batch in _batches(path, ["item_id", "embedding"]):
            yield [str(i) for i in batch.column("item_id").to_pylist()], _vectors(batch.column("embedding"), path)


def _rows(path: Path) -> int:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"{path} is no Parquet file ({error}); item_id and embedding are expected") from error
    missing = {"item_id", "embedding"} - set(file.schema_arrow.names)
    if missing:
        found = ", ".join(file.schema_arrow.names)
        raise UsageError(f"{path} lacks the column {sorted(missing)[0]}; found {found}")
    return int(file.metadata.num_rows)


def _batches(path: Path, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    return (batch for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns) if batch.num_rows)


def _vectors(column: pa.Array, path: Path) -> Array:
    """[n, d] float32 of a list column whose lists are all of one length."""
    if pa.types.is_fixed_size_list(column.type):
        return vectors_of(column)
    lengths = set(column.value_lengths().to_pylist()) if pa.types.is_list(column.type) else set()
    if len(lengths) != 1 or None in lengths:
        raise UsageError(f"{path}: embedding is {column.type}; lists of floats, all of one length, are expected")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat.reshape(len(column), -1), np.float32)


@dataclass
class NumpySource:
    """A .npy file [n, d] and its ids."""

    path: Path
    ids: Sequence[str] | None
    items: int
    dimension: int
    row_bytes: float
    file_bytes: int
    digest: str
    embed_core_seconds: float = 0.0

    @classmethod
    def open(cls, path: Path, ids: Path | None) -> "NumpySource":
        """Maps the file and reads the ids."""
        try:
            vectors = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} is no .npy file of numbers ({error}); [n, dim] float32 is expected") from error
        if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
            raise UsageError(f"{path} holds {vectors.dtype} of shape {vectors.shape}; [n, dim] float32 is expected")
        names = _read_ids(ids, len(vectors)) if ids else None
        length = sum(len(n.encode()) for n in names) / len(names) if names else len(str(len(vectors)))
        digest = _stat_digest([path, *([ids] if ids else [])])
        items, dimension = vectors.shape
        return cls(path, names, items, dimension, length + 4, path.stat().st_size, digest)

    def draw(self, count: int, seed: int) -> Drawn:
        """Reads the file once."""
        return draw(self._read(), count, seed)

    def _read(self) -> Iterator[tuple[list[str], Array]]:
        vectors = np.load(self.path, mmap_mode="r")
        for start in range(0, self.items, BATCH_ROWS):
            rows = range(start, min(start + BATCH_ROWS, self.items))
            ids = [str(row) for row in rows] if self.ids is None else list(self.ids[rows.start : rows.stop])
            yield ids, np.asarray(vectors[rows.start : rows.stop], np.float32)


def _read_ids(path: Path, wanted: int) -> list[str]:
    if not path.is_file():
        raise UsageError(f"--ids: there is no file {path}; one id a line is expected")
    names = path.read_text(encoding="utf-8").splitlines()
    if len(names) != wanted:
        raise UsageError(f"{path} holds {len(names):,} ids for {wanted:,} vectors; one a line is expected")
    return names


def _stat_digest(paths: Sequence[Path]) -> str:
    """Of names, sizes and times of change: the content may be too large to read for it."""
    stats = [(str(path.absolute()), path.stat()) for path in paths]
    return settings_digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])


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
