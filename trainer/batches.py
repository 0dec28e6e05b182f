"""Batches for the trainer: read, parsed and transformed in a thread of its own, a few ahead of the step."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from trainer.sampler import Sampler

Array = np.ndarray[Any, Any]

# As many as hide a slow read; more would only hold memory.
_AHEAD = 3


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

    Args:
        sampler: of rows.
        classes: [n] int32, class of every row or -1.
        read: [b] rows -> what is read of them.
        make: what was read -> features.
        state: of the draws within `read`, told with each batch; null where it draws nothing.
    """

    def __init__(
        self,
        sampler: Sampler,
        classes: Array,
        read: Callable[[Array], Any],
        make: Callable[[Any], Any],
        state: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """Starts to read at once."""
        self._sampler, self._classes, self._read_rows, self._state = sampler, classes, read, state
        self._make_features = make
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=f"ruiji-{name}") for name in ("read", "features")]
        self._coming: deque[Future[Batch]] = deque(self._begin() for _ in range(_AHEAD))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for thread in self._threads:
            thread.shutdown(wait=True, cancel_futures=True)

    def __next__(self) -> Batch:
        """The next batch; raises what was raised while it was read."""
        batch = self._coming.popleft().result()
        self._coming.append(self._begin())
        return batch

    def _begin(self) -> Future[Batch]:
        reading = self._threads[0].submit(self._read)
        return self._threads[1].submit(self._make, reading)

    def _read(self) -> tuple[Any, Array, dict[str, Any]]:
        rows = self._sampler.draw()
        read = self._read_rows(rows)
        position = {"sampler": self._sampler.position(), "views": self._state() if self._state else None}
        return read, self._classes[rows], position

    def _make(self, reading: "Future[tuple[Any, Array, dict[str, Any]]]") -> Batch:
        read, classes, position = reading.result()
        return Batch(self._make_features(read), classes, position)
