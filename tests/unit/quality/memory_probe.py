"""Peak memory of one stage on one shard, in a process of its own: what the memory model was fitted to.

python -m tests.unit.quality.memory_probe build 20000 64 16     # prints the peak in bytes
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from sim_transforms.assign_shards import _write_part, read_shard, write_cell
from sim_transforms.build_shards import build
from sim_transforms.records.batches import ShardKey, ShardPlan, column_of
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.worker_usage import peak_rss_bytes


def peak_of(stage: str, items: int, dimension: int, m: int) -> int:
    """Bytes of a fresh process that does one stage on one shard."""
    arguments = [sys.executable, "-m", __name__, stage, str(items), str(dimension), str(m)]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120).stdout)


def _shard(folder: Path, items: int, dimension: int) -> ShardPlan:
    vectors = np.random.default_rng(0).random((items, dimension), np.float32)
    table = pa.table({"item_id": [f"item-{i}" for i in range(items)], "embedding": column_of(vectors)})
    return ShardPlan(0, 0, _write_part(table, ShardKey(0, 0), str(folder)))


def _work(stage: str, items: int, dimension: int, m: int) -> None:
    settings = IndexSettings(space="l2", m=m, ef_construction=20)
    with tempfile.TemporaryDirectory() as folder:
        plan = _shard(Path(folder), items, dimension)
        if stage == "build":
            build(plan, settings)
        else:
            list(write_cell((0, read_shard(plan.file.path).to_batches()), folder, items // 2, 0))
        sys.stdout.write(f"{peak_rss_bytes()}\n")


if __name__ == "__main__":
    _work(sys.argv[1], *(int(a) for a in sys.argv[2:5]))
