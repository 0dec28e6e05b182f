"""Shards -> one HNSW graph each, built side by side on the workers by NMSLIB."""

from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam

from sim_transforms.assign_shards import read_shard
from sim_transforms.hnsw.build import build_shard, save_graph
from sim_transforms.records.batches import ShardPlan, vectors_of
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import replace_file


@dataclass
class BuildShards(beam.PTransform):
    """ShardPlans -> the same ShardPlans, having written the graph of each beside its file.

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
    """Where the graph of a shard stands."""
    return plan.file.path.removesuffix(".arrow") + ".graph.npz"


def build(plan: ShardPlan, settings: IndexSettings) -> ShardPlan:
    """Builds and saves one shard's graph."""
    vectors = vectors_of(read_shard(plan.file.path).column("embedding"))
    with replace_file(Path(graph_path(plan))) as temporary:
        save_graph(build_shard(vectors, settings), temporary)
    return plan
