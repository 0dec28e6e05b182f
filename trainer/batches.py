"""Batches for the trainer: read, parsed and transformed in a thread of its own, a few ahead of the step."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from trainer.sampler import Sampler

Array = np.ndarray[Any, Any]

# As many as hide a slow read; more would only hold memory.
_AHEAD = 3
# Of what is read together; decoded features are some times as large.
_GROUP_BYTES, _MOST_BATCHES = 2**20, 16


def group_size(batch_bytes: float) -> int:
    """Batches of so many bytes of records that are read together: up to a MiB, and up to 16."""
    return max(1, min(_MOST_BATCHES, int(_GROUP_BYTES / max(batch_bytes, 1.0))))


def _split(features: Any, sizes: list[int]) -> Sequence[Any]:
    return np.split(features, np.cumsum(sizes)[:-1])


@dataclass(frozen=True)
class Groups:
    """How batches are read together.

    Attributes:
        size: batches of a group.
        taken: of the first group, so many were taken before.
        split: features of a group and the rows of each batch -> the batches' features.
    """

    size: int = 1
    taken: int = 0
    split: Callable[[Any, list[int]], Sequence[Any]] = _split


@dataclass(frozen=True)
class Batch:
    """What a step takes.

    Attributes:
        features: [b, *feature_shape] float32; of sounds [2 b, ...], views of all rows and then others.
        classes: [b] int32, -1 without a label.
        position: where the stream stands after it.
    """

    features: Any
    classes: Array
    position: dict[str, Any]


class Batches:
    """An endless stream of batches in the order of the sampler: read in one thread, made features of in another.

    Small examples are read and made features of several batches at a time: what a call costs is shared. Such a group
    always begins at the same batches of the stream, also in one that goes on within a group, so that the arithmetic is
    the same.

    Args:
        sampler: of rows.
        classes: [n] int32, class of every row or -1.
        read: [b] rows -> what is read of them.
        make: what was read -> features, row by row where groups are of several batches.
        state: of the draws within `read`, told with each batch; null where it draws nothing.
        groups: null reads batch by batch.
    """

    def __init__(
        self,
        sampler: Sampler,
        classes: Array,
        read: Callable[[Array], Any],
        make: Callable[[Any], Any],
        state: Callable[[], dict[str, Any]] | None = None,
        groups: Groups | None = None,
    ) -> None:
        """Starts to read at once."""
        groups = groups or Groups()
        self._group, self._skip, self._split = groups.size, groups.taken, groups.split
        self._sampler, self._classes, self._read_rows, self._state = sampler, classes, read, state
        self._make_features = make
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=f"ruiji-{name}") for name in ("read", "features")]
        self._stands = self._where()
        self._coming: deque[Future[list[Batch]]] = deque(self._begin() for _ in range(_AHEAD))
        self._ready: deque[Batch] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.shutdown(wait=True, cancel_futures=True)

    def __next__(self) -> Batch:
        """The next batch; raises what was raised while it was read."""
        while not self._ready:
            self._ready.extend(self._coming.popleft().result()[self._skip :])
            self._skip = 0
            self._coming.append(self._begin())
        return self._ready.popleft()

    def _begin(self) -> Future[list[Batch]]:
        reading = self._threads[0].submit(self._read)
        return self._threads[1].submit(self._make, reading)

    def _where(self) -> dict[str, Any]:
        """Where the stream stands, and how many batches from there on have been taken."""
        views = self._state() if self._state else None
        return {"sampler": self._sampler.position(), "views": views, "taken": 0}

    def _read(self) -> tuple[Any, list[Array], list[dict[str, Any]]]:
        several = [self._sampler.draw() for _ in range(self._group)]
        read = self._read_rows(np.concatenate(several))
        within = [{**self._stands, "taken": taken} for taken in range(1, self._group)]
        self._stands = self._where()
        return read, [self._classes[rows] for rows in several], [*within, self._stands]

    def _make(self, reading: "Future[tuple[Any, list[Array], list[dict[str, Any]]]]") -> list[Batch]:
        read, classes, positions = reading.result()
        features = self._make_features(read)
        if self._group == 1:  # of sounds there are two features a row
            return [Batch(features, classes[0], positions[0])]
        parts = self._split(features, [len(one) for one in classes])
        return [Batch(*each) for each in zip(parts, classes, positions, strict=True)]
