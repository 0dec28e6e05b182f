"""Shards -> layer 0 of one HNSW graph each, built side by side on the workers."""

from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam

from sim_transforms.assign_shards import shard_arrays
from sim_transforms.hnsw.build import ShardGraph, build_shard, load_links, save_links
from sim_transforms.records.batches import ShardPlan
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import replace_file


@dataclass
class BuildShards(beam.PTransform):
    """ShardPlans -> the same ShardPlans, having written the links of each beside its file.

    Attributes:
        settings: of the index.
    """

    settings: IndexSettings

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, plans: beam.PCollection[ShardPlan]) -> beam.PCollection[ShardPlan]:
        """Spreads the shards over the workers and builds each."""
        return plans | "Spread" >> beam.Reshuffle() | "Build" >> beam.Map(build, self.settings)


def graph_path(plan: ShardPlan) -> str:
    """Where the links of a shard stand."""
    return plan.file.path.removesuffix(".arrow") + ".links.npy"


def build(plan: ShardPlan, settings: IndexSettings) -> ShardPlan:
    """Builds and saves one shard's graph."""
    with replace_file(Path(graph_path(plan))) as temporary:
        save_links(build_shard(*shard_arrays(plan.file.path), settings), temporary)
    return plan


def read_graph(plan: ShardPlan, m: int) -> ShardGraph:
    """The graph of a built shard; `m` of the index."""
    return ShardGraph(*shard_arrays(plan.file.path), *load_links(Path(graph_path(plan)), m))
