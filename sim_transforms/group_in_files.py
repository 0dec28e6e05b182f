"""A GroupByKey whose values wait in files, for runners that hand a worker all groups of a stage in one message.

Beam's own local runner does: a worker's memory then grows with the catalog. Here only places in files go through the
runner, and a group's values are read when they are asked for. Flink and Dataflow stream groups from storage by
themselves, so that values go through their shuffle (`folder` null).
"""

import itertools
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import IO, Any

import apache_beam as beam


@dataclass(frozen=True, order=True)
class SpilledValue:
    """Where a pickled value stands."""

    path: str
    offset: int
    size_bytes: int


@dataclass
class GroupInFiles(beam.PTransform):
    """(key, value) -> (key, values in no order).

    Attributes:
        folder: that all workers share; null for a plain GroupByKey.
    """

    folder: str | None

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, keyed: beam.PCollection[tuple[int, Any]]) -> beam.PCollection[tuple[int, Iterable[Any]]]:
        """Spills, groups the places, and reads group by group."""
        if self.folder is None:
            return keyed | "Group" >> beam.GroupByKey()
        spilled = keyed | "Spill" >> beam.ParDo(_Spill(self.folder))
        return spilled | "Group" >> beam.GroupByKey() | "Fetch" >> beam.Map(fetch_values)


class _Spill(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def process(self, element: tuple[int, Any]) -> Iterator[tuple[int, SpilledValue]]:
        """Appends the value to the bundle's file."""
        key, value = element
        if self._file is None:
            # Open from the first value of a bundle to its end.
            self._file = tempfile.NamedTemporaryFile(dir=self._folder, prefix="spill-", delete=False)  # noqa: SIM115
        data = pickle.dumps(value, protocol=5)
        offset = self._file.tell()
        self._file.write(data)
        yield key, SpilledValue(self._file.name, offset, len(data))

    def finish_bundle(self) -> None:
        """Closes the file; only then do the places travel on."""
        if self._file is not None:
            self._file.close()
            self._file = None


def fetch_values(element: tuple[int, Iterable[SpilledValue]]) -> tuple[int, Iterable[Any]]:
    """The same group with its values, which are read one by one."""
    key, places = element
    return key, _Values(sorted(places))


class _Values:
    """Values of a group; may be walked more than once."""

    def __init__(self, places: list[SpilledValue]) -> None:
        self._places = places

    def __iter__(self) -> Iterator[Any]:
        for path, places in itertools.groupby(self._places, key=attrgetter("path")):
            with open(path, "rb") as file:
                for place in places:
                    file.seek(place.offset)
                    yield pickle.loads(file.read(place.size_bytes))
