"""Manifests: what each artefact says of itself. Nothing timed and no host name stands in them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from sim_transforms.errors import ConfigError, DamagedArtefact, NotFound
from sim_transforms.records.codec import canonical_json, from_plain
from sim_transforms.records.ledger import LedgerTotals
from sim_transforms.records.media import Clips, MediaShape
from sim_transforms.records.statistics import DataStatistics

# Files of a version that are for browsers, and the one to open; nobody who searches reads them.
PAGE_FOLDER = "page/"
PAGE = PAGE_FOLDER + "index.html"


class Manifest:
    """What all manifests share: how they are read."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads `folder/manifest.json`.

        Raises:
            NotFound: the folder holds none, so it is no whole artefact.
            DamagedArtefact: it is no manifest of this kind.
        """
        path = folder / "manifest.json"
        if not path.is_file():
            raise NotFound(f"{folder} holds no manifest.json: it is no whole artefact; run the stage that makes it")
        return cls.parse(path.read_text(encoding="utf-8"), str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """Reads the text of a manifest; raises DamagedArtefact saying what is wrong."""
        try:
            return from_plain(cls, json.loads(text), source=source)
        except (json.JSONDecodeError, ConfigError) as error:
            raise DamagedArtefact(f"{source} is not a {cls.__name__}: {error}") from error

    def text(self) -> str:
        """Canonical JSON, the bytes of manifest.json."""
        return canonical_json(self)


@dataclass(frozen=True)
class FileEntry:
    """A file of an artefact, its name relative to the artefact's folder with `/` between parts.

    Attributes:
        crc32c: CRC32C (Castagnoli), base64 of 4 bytes big-endian, as object stores give it.
        sha256: hex; "" for `index.hnsw` of a version, which lists parts instead.
    """

    name: str
    size_bytes: int
    crc32c: str
    sha256: str


@dataclass(frozen=True)
class FilePart:
    """A byte range of `index.hnsw`."""

    offset: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ExamplesManifest(Manifest):
    """Of `examples/`.

    Attributes:
        catalog_digest: SHA-256 over the accepted and rejected references and the content of their media.
        metadata_columns: name -> Arrow type ("string", "int64", "double", "bool").
        shards: number of TFRecord files, named by `example_file`.
        decoder: version of the decoder, part of the model's fingerprint.
        settings: the settings that shaped the files, as plain values.
        compression: of the records: "none" or "gzip".
    """

    items: int
    shards: int
    media: MediaShape
    decoder: str
    catalog_digest: str
    labels: tuple[str, ...]
    metadata_columns: dict[str, str]
    ledger: LedgerTotals
    settings: dict[str, Any]
    files: tuple[FileEntry, ...]
    compression: str = "none"
    kind: str = "examples"

    def example_file(self, shard: int) -> str:
        """Name of the TFRecord file of a shard."""
        return example_file(shard, self.shards, self.compression)


def example_file(shard: int, shards: int, compression: str) -> str:
    """Name of a TFRecord file of `examples/`."""
    return f"examples-{shard:05d}-of-{shards:05d}.tfrecord{'.gz' if compression == 'gzip' else ''}"


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers to validation items at up to a distance, beyond that of the bin before.

    Attributes:
        max_distance: of the bin.
        answers: how many.
        precision: share of them that are of the query's class.
    """

    max_distance: float
    answers: int
    precision: float


@dataclass(frozen=True)
class Calibration:
    """Threshold under which the nearest item counts as a match.

    Of validation items, asked among items of the train split with their class there and without it.

    Attributes:
        max_distance: distance as the commands show it (cosine = 1 - cos).
        target_precision: null where the threshold is that of the best F1.
        precision: share of the answers within the threshold that are of the query's class.
        recall: share of the queries whose class is there that get such an answer.
        f1: of them; 0 of models that were trained before it was told.
        gallery: items that were asked among; among many more the nearest are nearer. 0 of models of before.
        reliability: what a distance means: bins of answers, the nearest first.
    """

    max_distance: float
    target_precision: float | None
    precision: float
    recall: float
    f1: float = 0.0
    gallery: int = 0
    reliability: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True)
class ModelManifest(Manifest):
    """Of `model/`.

    Attributes:
        fingerprint: hex SHA-256 over weights, constants of the transform graph and decoder version.
        metrics: of the kept epoch on validation, such as {"precision_at_1": 0.99}.
        split_seed: seed of the split and of training.
        statistics: of the examples; null of models that were trained before they were told.
    """

    fingerprint: str
    embedding_size: int
    space: str
    media: MediaShape
    decoder: str
    train_labels: tuple[str, ...]
    split_seed: int
    best_epoch: int
    metrics: dict[str, float]
    calibration: Calibration | None
    settings: dict[str, Any]
    statistics: DataStatistics | None = None
    kind: str = "model"


@dataclass(frozen=True)
class EmbeddingsManifest(Manifest):
    """Of `embeddings/`: Parquet files of item_id, label, split, digest, embedding and the metadata columns.

    Attributes:
        model: fingerprint of the model ("" for vectors made elsewhere).
        inferences: items that went through the model.
        clips: how items lie in their sounds; null where they are no clips.
    """

    items: int
    dimension: int
    space: str
    model: str
    catalog_digest: str
    metadata_columns: dict[str, str]
    inferences: int
    ledger: LedgerTotals
    files: tuple[FileEntry, ...]
    clips: Clips | None = None
    kind: str = "embeddings"


@dataclass(frozen=True)
class NeighborsManifest(Manifest):
    """Of what `ruiji neighbors` writes: Parquet files of item_id, neighbors and distances, nearest first.

    Attributes:
        version: whose items they are.
        k: neighbours of each item, fewer where the version holds no more.
    """

    version: str
    k: int
    space: str
    ledger: LedgerTotals
    files: tuple[FileEntry, ...]
    kind: str = "neighbors"


@dataclass(frozen=True)
class DuplicatesManifest(Manifest):
    """Of what `ruiji duplicates` writes: a Parquet file of the items in groups.

    Attributes:
        version: whose items they are.
        k: neighbours that were looked at of each item.
        max_distance: up to which two items are near duplicates.
        items: of the version.
        groups, grouped: groups of two items or more, and the items in them.
        full: items all of whose `k` neighbours are so near: there may be more.
    """

    version: str
    space: str
    k: int
    max_distance: float
    items: int
    groups: int
    grouped: int
    full: int
    files: tuple[FileEntry, ...]
    kind: str = "duplicates"


@dataclass(frozen=True)
class ClustersManifest(Manifest):
    """Of what `ruiji cluster` writes: a Parquet file of item_id and cluster.

    Attributes:
        version: whose items they are.
        k: neighbours of each item in the graph.
        resolution, seed: of the Leiden algorithm.
        items: of the version.
        clusters, largest: how many there are, and items of the largest.
        modularity: of the graph's weights, at that resolution.
    """

    version: str
    space: str
    k: int
    resolution: float
    seed: int
    items: int
    clusters: int
    largest: int
    modularity: float
    files: tuple[FileEntry, ...]
    kind: str = "clusters"


@dataclass(frozen=True)
class ExportManifest(Manifest):
    """Of what `ruiji export` writes.

    Attributes:
        version: whose items they are.
        format: parquet, numpy, milvus, qdrant or vertex.
    """

    version: str
    format: str
    ledger: LedgerTotals
    files: tuple[FileEntry, ...]
    kind: str = "export"


def holds_embeddings(folder: Path) -> bool:
    """Whether a folder is an artefact of vectors; what `ruiji export` writes is for whoever reads Parquet."""
    if not (folder / "manifest.json").is_file():
        return False
    try:
        ExportManifest.load(folder)
    except DamagedArtefact:
        return True
    return False


@dataclass(frozen=True)
class RowRange:
    """Rows [first_row, end_row) that belong to a shard: of `index.hnsw`, or row by row of the shard's own file."""

    shard: int
    first_row: int
    end_row: int


@dataclass(frozen=True)
class RecallInterval:
    """Measured recall of `queries` sampled items against exact search, tie-aware, with its 95 % interval."""

    k: int
    ef_search: int
    recall: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True)
class ShardRecall:
    """Recall of one shard searched on its own, before the merge."""

    shard: int
    recall: RecallInterval


@dataclass(frozen=True)
class Canary:
    """A query (an item's own vector, by row) and the rows that the published files answer with."""

    row: int
    expected_rows: tuple[int, ...]


@dataclass(frozen=True)
class IndexFile:
    """`index.hnsw`: whole-file checksum combined from its parts, and the parts."""

    size_bytes: int
    crc32c: str
    parts: tuple[FilePart, ...]


@dataclass(frozen=True)
class VersionManifest(Manifest):
    """Of a published version; its id is the first 16 hex digits of the SHA-256 of the canonical JSON.

    Attributes:
        parent: id of the version that was LATEST when this one was made, or null.
        catalog, model: digest of the catalog, fingerprint of the model ("" for foreign vectors).
        items: live items.
        parameters: m, ef_construction, seed, shard_items, shards, neighbor_shards, builder, layout; of layout routed
            also probe, at which the recall was measured.
        ef_search: chosen for `recall_target`.
        churn: added + removed + changed since the last rebuild, as a share of items.
        cpu: instruction set the bytes were made with.
        index: of layout merged; null of layout routed.
        clips: how items lie in their sounds (metadata `source_id` and `start`); null where they are no clips.
        shard_files: of layout routed, `shards/<number:06d>.hnsw` in the order of `row_ranges`, one range each.
    """

    parent: str | None
    catalog: str
    model: str
    items: int
    dimension: int
    space: str
    parameters: dict[str, Any]
    recall_target: float
    ef_search: int
    recall: tuple[RecallInterval, ...]
    canaries: tuple[Canary, ...]
    churn: float
    row_ranges: tuple[RowRange, ...]
    calibration: Calibration | None
    metadata_columns: dict[str, str]
    cpu: str
    index: IndexFile | None
    files: tuple[FileEntry, ...]
    shard_recall: tuple[ShardRecall, ...] = ()
    shard_files: tuple[FileEntry, ...] = ()
    clips: Clips | None = None
    kind: str = field(default="version")

    @property
    def layout_is_routed(self) -> bool:
        """Whether the shards are files of their own."""
        return self.index is None

    @property
    def has_page(self) -> bool:
        """Whether a page to browse it lies among its files."""
        return any(entry.name == PAGE for entry in self.files)

    @property
    def index_bytes(self) -> int:
        """Bytes of `index.hnsw`, or of all shard files."""
        return self.index.size_bytes if self.index else sum(entry.size_bytes for entry in self.shard_files)
