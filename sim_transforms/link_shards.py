"""Graphs of the shards -> links across shards: each item is searched in its next nearest shards.

Candidates are cut by the diversity rule in the shard that holds their vectors, so that little travels: an item's vector
to `neighbor_shards` shards, and a few row numbers with distances back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from sim_transforms.assign_shards import centroids_of, shard_arrays
from sim_transforms.build_shards import read_graph
from sim_transforms.group_in_files import GroupInFiles
from sim_transforms.hnsw.link import Forward, LinkedShard, link_shard, split_forward
from sim_transforms.hnsw.partition import neighbor_numbers
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.records.arrays import load_arrays
from sim_transforms.records.batches import Array, QueryBlock, ShardPlan
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import replace_file


@dataclass
class LinkShards(beam.PTransform):
    """Built ShardPlans -> (shard, ShardPlan), its linked file written, and (shard, Forward), what its items found.

    Attributes:
        plans: side input, all ShardPlans in shard order.
        settings: of the index.
        spill: folder where queries wait, or null (`group_in_files`).
    """

    plans: beam.pvalue.AsSingleton
    settings: IndexSettings
    spill: str | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, built: beam.PCollection[ShardPlan]) -> beam.PCollection[tuple[int, ShardPlan | Forward]]:
        """Sends the queries out, then searches them where they arrive."""
        return (
            built
            | "SendQueries" >> beam.FlatMap(send_queries, self.plans, self.settings)
            | "Meet" >> GroupInFiles(self.spill)
            | "Link" >> beam.FlatMap(link, self.plans, self.settings)
        )


def send_queries(
    plan: ShardPlan, plans: list[ShardPlan], settings: IndexSettings
) -> Iterator[tuple[int, ShardPlan | QueryBlock]]:
    """The plan to its own shard, and a block of queries to each that is among the next nearest of some of its items."""
    yield plan.number, plan
    vectors, cells, _ = shard_arrays(plan.file.path)
    vectors = vectors[: cells.distinct]
    places = space_of(settings.space).places(vectors)
    targets = neighbor_numbers(places, plan.number, centroids_of(plans), settings.neighbor_shards)
    for target in np.unique(targets[targets >= 0]):
        rows = np.flatnonzero((targets == target).any(axis=1))
        yield int(target), QueryBlock((rows + plan.first_row).astype(np.int32), vectors[rows])


def link(
    element: tuple[int, Iterable[ShardPlan | QueryBlock]], plans: list[ShardPlan], settings: IndexSettings
) -> Iterator[tuple[int, ShardPlan | Forward]]:
    """Searches the queries in this shard, saves its new links, sends the answers home."""
    number, inputs = element
    plan, blocks = own_and_others(inputs)
    rows, vectors = _concatenate(blocks, plan)
    linked, forward = link_shard(read_graph(plan, settings.m), plan.first_row, rows, vectors, settings)
    save_linked(linked, plan)
    yield number, plan
    yield from split_forward(forward, np.array([p.first_row for p in plans]))


def own_and_others(inputs: Iterable[Any]) -> tuple[ShardPlan, list[Any]]:
    """The one ShardPlan among what meets at a shard, and the rest.

    One grouping of both kinds, not two that are joined: joining would pass all vectors through one more stage.
    """
    met = list(inputs)
    (plan,) = (entry for entry in met if isinstance(entry, ShardPlan))
    return plan, [entry for entry in met if not isinstance(entry, ShardPlan)]


def _concatenate(blocks: list[QueryBlock], plan: ShardPlan) -> tuple[Array, Array]:
    ordered = sorted(blocks, key=lambda b: int(b.rows[0]))
    if not ordered:
        dimension = len(plan.file.centroid) // 4
        return np.zeros(0, np.int32), np.zeros((0, dimension), np.float32)
    return np.concatenate([b.rows for b in ordered]), np.concatenate([b.vectors for b in ordered])


def linked_path(plan: ShardPlan) -> Path:
    """Where the linked shard stands."""
    return Path(plan.file.path.removesuffix(".arrow") + ".linked.npz")


def save_linked(linked: LinkedShard, plan: ShardPlan) -> None:
    """Writes links and distances of a linked shard."""
    with replace_file(linked_path(plan)) as temporary:
        np.savez(temporary, links=linked.links, distances=linked.distances)


def load_linked(plan: ShardPlan) -> LinkedShard:
    """Reads what `save_linked` wrote."""
    arrays = load_arrays(linked_path(plan))
    return LinkedShard(plan.first_row, arrays["links"], arrays["distances"])
