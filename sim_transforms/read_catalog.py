"""A planned catalog -> references, read on the workers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import apache_beam as beam

from sim_transforms.beam_files import BeamFiles
from sim_transforms.media.catalog import read_part
from sim_transforms.media.catalog_plan import CatalogPart, CatalogPlan
from sim_transforms.records.items import FailedItem, MediaRef

FAILED = "failed"


@dataclass
class ReadCatalog(beam.PTransform):
    """Pipeline -> main output: MediaRef; `failed`: FailedItem for rows that are no reference.

    Attributes:
        plan: of the catalog.
        split_seed: of the split, for catalogs that give none.
    """

    plan: CatalogPlan
    split_seed: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Any:
        """Spreads the parts over the workers and reads each."""
        reader = beam.ParDo(_Read(self.plan, self.split_seed)).with_outputs(FAILED, main="references")
        return pipeline | "Parts" >> beam.Create(self.plan.parts) | "Spread" >> beam.Reshuffle() | "Read" >> reader


class _Read(beam.DoFn):
    def __init__(self, plan: CatalogPlan, split_seed: int) -> None:
        self._plan, self._split_seed = plan, split_seed

    def process(
        self, part: CatalogPart
    ) -> Iterator[MediaRef | beam.pvalue.TaggedOutput[Literal["failed"], FailedItem]]:
        """Reads one part."""
        for entry in read_part(self._plan, part, self._split_seed, BeamFiles()):
            yield beam.pvalue.TaggedOutput(FAILED, entry) if isinstance(entry, FailedItem) else entry
