"""Entries of items -> lists of those that go to one bucket: what travels one by one costs more than what it carries."""

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from sim_transforms.records.items import shard_of

# Entries that wait in a worker, some hundred bytes each; and those of a list, so that it stays far below what runners
# take as one element.
_WAITING, _TOGETHER = 20_000, 1_000


class SendTogether(beam.DoFn):
    """Entries with an `item_id` -> (bucket, pickled list of entries), by a hash of the id.

    Args:
        buckets: how many there are.
    """

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets
        self._waiting: dict[int, list[Any]] = {}
        self._count = 0

    def start_bundle(self) -> None:
        """Nothing waits yet."""
        self._waiting, self._count = {}, 0

    def process(self, entry: Any) -> Iterator[tuple[int, bytes]]:
        """Lets an entry wait, or sends all that do."""
        self._waiting.setdefault(shard_of(entry.item_id, self._buckets), []).append(entry)
        self._count += 1
        if self._count >= _WAITING:
            yield from self._sent()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Sends what is left."""
        for element in self._sent():
            window = GlobalWindow()
            yield WindowedValue(element, window.max_timestamp(), [window])

    def _sent(self) -> Iterator[tuple[int, bytes]]:
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for bucket, entries in waiting.items():
            for start in range(0, len(entries), _TOGETHER):
                yield bucket, pickle.dumps(entries[start : start + _TOGETHER], protocol=5)


def entries_of(lists: Iterable[bytes]) -> Iterator[Any]:
    """The entries of a bucket, in no order."""
    for entries in lists:
        yield from pickle.loads(entries)
