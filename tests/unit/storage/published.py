"""A small published version, made by the real functions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.hnsw.whole import build_whole
from sim_transforms.records.manifests import Calibration, Canary, RowRange, VersionManifest
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.checksums import file_entry, index_file
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish


def some_vectors(seed: int = 0, items: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(items, 8)).astype(np.float32)


def version_folder(folder: Path, vectors: np.ndarray, parent: str | None = None) -> VersionManifest:
    """Writes the files of a version into `folder` and describes them; item of vector i is `item-<i>`."""
    folder.mkdir(parents=True, exist_ok=True)
    order = build_whole(vectors, IndexSettings(shard_items=30), folder / "index.hnsw")
    rows = {
        "row": pa.array(range(len(order)), pa.int32()),
        "item_id": [f"item-{i}" for i in order],
        "colour": ["red"] * len(order),
    }
    pq.write_table(pa.table(rows), folder / "items.parquet")
    size = (folder / "index.hnsw").stat().st_size
    return VersionManifest(
        parent=parent,
        catalog="c",
        model="",
        items=len(order),
        dimension=vectors.shape[1],
        space="cosine",
        parameters={"m": 16},
        recall_target=0.9,
        ef_search=50,
        recall=(),
        canaries=(Canary(0, (0,)),),
        churn=0.0,
        row_ranges=(RowRange(0, 0, len(order)),),
        calibration=Calibration(0.2, 0.9, 0.9, 0.5),
        metadata_columns={"colour": "string"},
        cpu="",
        index=index_file(folder / "index.hnsw", [68, size - 68]),
        files=(file_entry(folder, "items.parquet"),),
    )


def published_store(folder: Path, vectors: np.ndarray) -> tuple[LocalStore, str]:
    store = LocalStore(str(folder / "store"))
    manifest = version_folder(folder / "new", vectors)
    return store, publish(store, folder / "new", manifest)
