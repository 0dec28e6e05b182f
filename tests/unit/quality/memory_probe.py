"""Peak memory of one stage on one shard, in a process of its own: what the memory model was fitted to.

python -m tests.unit.quality.memory_probe build 20000 64 16     # prints the peak in bytes
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from sim_transforms.assign_shards import write_group
from sim_transforms.build_shards import build
from sim_transforms.hnsw.link import Forward, foreign_links
from sim_transforms.link_shards import link
from sim_transforms.measure_recall import measure_shard
from sim_transforms.merge_shards import make_upper, write_records
from sim_transforms.records.batches import QueryBlock, ShardPlan, column_of
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.worker_usage import peak_rss_bytes

NEIGHBORS = 2


def peak_of(stage: str, items: int, dimension: int, m: int) -> int:
    """Bytes of a fresh process that does one stage on one shard of `items`."""
    arguments = [sys.executable, "-m", __name__, stage, str(items), str(dimension), str(m)]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120).stdout)


def _vectors(items: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((items, dimension), np.float32)


def _assign(folder: str, items: int, dimension: int, settings: IndexSettings) -> ShardPlan:
    ids = [f"item-{i}" for i in range(items)]
    table = pa.table({"item_id": ids, "embedding": column_of(_vectors(items, dimension))})
    (file,) = write_group((0, table.to_batches(4096)), folder, items, settings)
    return ShardPlan(0, 0, file)


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _link(plan: ShardPlan, settings: IndexSettings) -> None:
    rows = np.arange(plan.file.items, dtype=np.int32)
    dimension = len(plan.file.centroid) // 4
    blocks = [
        QueryBlock(rows + (1 + n) * len(rows), _vectors(len(rows), dimension, seed=1 + n)) for n in range(NEIGHBORS)
    ]
    list(link((0, [plan, *blocks]), [plan], settings))


def _merge(plan: ShardPlan, folder: str, settings: IndexSettings) -> None:
    rows, width = np.arange(plan.file.items, dtype=np.int32), foreign_links(settings)
    generator = np.random.default_rng(2)
    pieces = [
        Forward(
            rows,
            generator.integers((1 + n) * len(rows), (2 + n) * len(rows), (len(rows), width)).astype(np.int32),
            generator.random((len(rows), width), np.float32),
        )
        for n in range(NEIGHBORS)
    ]
    write_records((0, [plan, *pieces]), [plan], folder, settings)


def _work(stage: str, items: int, dimension: int, m: int) -> None:
    settings = IndexSettings(space="l2", m=m, ef_construction=40)
    with tempfile.TemporaryDirectory() as folder:
        if stage == "upper":
            rows = np.arange(items, dtype=np.int32)
            pieces = [(0, rows, _vectors(items, dimension), np.ones(items, np.int8))]
            make_upper((0, pieces), folder, settings)
        else:
            plan = _assign(folder, items, dimension, settings)
        if stage in ("build", "link", "merge", "measure"):
            _forget_peak()
            build(plan, settings)
        if stage in ("link", "merge"):
            _forget_peak()
            _link(plan, settings)
        if stage == "merge":
            _forget_peak()
            _merge(plan, folder, settings)
        if stage == "measure":
            _forget_peak()
            list(measure_shard(plan, settings, 10))
        sys.stdout.write(f"{peak_rss_bytes()}\n")


if __name__ == "__main__":
    _work(sys.argv[1], *(int(a) for a in sys.argv[2:5]))
