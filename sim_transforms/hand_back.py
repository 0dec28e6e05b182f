"""Small results of a job, for the driver that launched it: written once, whole, in sorted order."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from sim_transforms.storage.files import write_file


@dataclass
class HandBack(beam.PTransform):
    """Any small PCollection -> one file with the list of its elements; an empty one gives an empty list.

    Attributes:
        path: of the file.
        key: order of the elements; their own where not given.
    """

    path: str
    key: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, elements: beam.PCollection) -> beam.PCollection[str]:
        """Gathers and writes."""
        return elements | "Gather" >> beam.combiners.ToList() | "Write" >> beam.Map(write_rows, self.path, self.key)


def write_rows(rows: list[Any], path: str, key: Callable[[Any], Any] | None = None) -> str:
    """Writes the sorted rows; gives the path."""
    write_file(Path(path), pickle.dumps(sorted(rows, key=key), protocol=5))
    return path


def unordered(_: object) -> int:
    """Key for elements that have no order, or of which there is one."""
    return 0


def read_rows(path: str) -> list[Any]:
    """Reads what the job handed back."""
    rows: list[Any] = pickle.loads(Path(path).read_bytes())
    return rows
