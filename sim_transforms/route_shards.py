"""Built shards -> a native NMSLIB file each, for `index.layout: routed`: nothing is linked or merged."""

from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam

from sim_transforms.build_shards import read_graph
from sim_transforms.hnsw.merge import write_shard_file
from sim_transforms.records.batches import ShardPlan
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import replace_file

FOLDER = "shards"


@dataclass
class RouteShards(beam.PTransform):
    """Built ShardPlans -> the same ShardPlans, having written `shards/<number:06d>.hnsw` of each.

    Attributes:
        parts: folder under which `shards/` stands.
        settings: of the index.
    """

    parts: str
    settings: IndexSettings

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, built: beam.PCollection[ShardPlan]) -> beam.PCollection[ShardPlan]:
        """Writes each shard where it is."""
        return built | "WriteShardFiles" >> beam.Map(write_shard, self.parts, self.settings)


def shard_name(number: int) -> str:
    """Name of a shard's file in its version."""
    return f"{FOLDER}/{number:06d}.hnsw"


def write_shard(plan: ShardPlan, parts: str, settings: IndexSettings) -> ShardPlan:
    """Writes one shard, its rows counted from 0."""
    target = Path(parts) / shard_name(plan.number)
    target.parent.mkdir(exist_ok=True)
    with replace_file(target) as temporary:
        write_shard_file(read_graph(plan, settings.m), temporary, settings)
    return plan
