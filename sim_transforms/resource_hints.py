"""What stages ask of the machines that work them, as Beam's resource hints: memory, and an accelerator for embedding.

On Dataflow alone. Transforms of different hints stand in environments of their own, and Dataflow starts a pool of
machines for each. Any other runner starts SDK processes for each environment on the machines that it has: there hints
would double the processes and their memory, and buy nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from sim_transforms.options import RuijiOptions, cores_of_machine, runner_of, shares_process
from sim_transforms.quality.estimate import BASE_BYTES, ROW_BYTES, Inputs, embed_bytes, worker_bytes
from sim_transforms.settings.stages import IndexSettings

GIB = 2**30
# Of the machine's own processes, Dataflow's documentation says: "never more than 1 GB".
SYSTEM_BYTES = GIB
# Threads of an SDK process: one where each core has a process, and those of Beam's worker where all cores share one.
_THREADS, _THREADS_OF_ALL = 1, 12
_SHARD_STAGES = ("assign", "build", "link", "merge", "measure")

Hints = Mapping[str, Any]


@dataclass(frozen=True)
class Asking:
    """What a runner may be asked for.

    Attributes:
        at_once: elements that one machine works on side by side; 0: the runner is asked for nothing.
        accelerator: of the machines that embed, null for none.
    """

    at_once: int = 0
    accelerator: str | None = None

    def memory(self, needed_bytes: int, *, alone_bytes: int = 0) -> Hints:
        """Of a stage, in whole GiB, so that stages that are alike share a pool.

        Args:
            needed_bytes: of a process that works on an element of the stage, on all cores side by side.
            alone_bytes: of one that works on the only element of a stage, while the others wait.
        """
        if not self.at_once:
            return {}
        held = max(self.at_once * needed_bytes, alone_bytes + (self.at_once - 1) * BASE_BYTES)
        return {"min_ram": math.ceil((SYSTEM_BYTES + held) / GIB) * GIB}

    def embedding(self, model: Path, batch_bytes: int) -> Hints:
        """Hints of the stages that hold the model, whose files tell its size; `batch_bytes` of decoded media."""
        if not self.at_once:
            return {}
        files = (model / "saved_model").rglob("*")
        size = sum(path.stat().st_size for path in files if path.is_file())
        hints = self.memory(embed_bytes(size, batch_bytes))
        return {**hints, "accelerator": self.accelerator} if self.accelerator else hints

    def index(self, items: int, dimension: int, settings: IndexSettings) -> "IndexHints":
        """Hints of the stages of an index."""
        held = worker_bytes(Inputs(items=items, dimension=dimension, row_bytes=ROW_BYTES, embeddings_bytes=0), settings)
        shard = max(held[stage] for stage in _SHARD_STAGES)
        return IndexHints(
            shards=self.memory(shard),
            partition=self.memory(shard, alone_bytes=held["partition"]),
            upper=self.memory(shard, alone_bytes=held["upper"]),
        )


@dataclass(frozen=True)
class IndexHints:
    """Of an index job: one pool for all that works on a shard; two stages that one process works get a larger one where
    they need it.

    Attributes:
        shards: writing, building, linking, merging and measuring a shard.
        partition: fitting the partition to the sample.
        upper: building the upper layers.
    """

    shards: Hints
    partition: Hints
    upper: Hints


NO_HINTS = IndexHints({}, {}, {})


def asking(options: PipelineOptions) -> Asking:
    """What the runner of these options may be asked for."""
    if runner_of(options) != "DataflowRunner":
        return Asking()
    chosen = options.get_all_options()
    return Asking(elements_at_once(chosen), options.view_as(RuijiOptions).embed_accelerator)


def elements_at_once(chosen: Mapping[str, Any]) -> int:
    """Elements that a Dataflow worker works on at the same time, by its options."""
    threads = chosen.get("number_of_worker_harness_threads")
    if shares_process(chosen):
        return int(threads or _THREADS_OF_ALL)
    return cores_of_machine(chosen.get("machine_type")) * int(threads or _THREADS)
