"""One device or several: how a batch is shared out, and how its parts see each other's vectors.

Losses of metric learning compare the items of a batch with one another, so that the mean of what each device finds
alone is another loss, with fewer pairs. Here each device embeds its part, all gather the vectors of all, and each works
out the loss of the whole batch; gradients flow back through the gathering. Batch normalisation stays with each part.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import tensorflow as tf

from sim_transforms.errors import UsageError

Work = Callable[..., dict[str, Any]]


class Devices(Protocol):
    """Attributes:
    count: of the devices.
    """

    count: int

    def scope(self) -> AbstractContextManager[Any]:
        """In which variables are made."""
        ...

    def run(
        self, work: Callable[..., dict[str, Any]], parts: tuple[Any, ...], whole: tuple[Any, ...]
    ) -> dict[str, Any]:
        """Calls `work(*part, *whole)` on each device with its part of every tensor of `parts`; means of the answers."""
        ...

    def gather(self, value: Any) -> Any:
        """Within `work`: the parts of all devices, one after the other; with a gradient."""
        ...

    def number(self) -> Any:
        """Within `work`: which device this is."""
        ...


class OneDevice:
    """Where nothing is shared out."""

    count = 1

    def scope(self) -> AbstractContextManager[Any]:
        """Nothing."""
        return nullcontext()

    def run(
        self, work: Callable[..., dict[str, Any]], parts: tuple[Any, ...], whole: tuple[Any, ...]
    ) -> dict[str, Any]:
        """Calls it."""
        return work(*parts, *whole)

    def gather(self, value: Any) -> Any:
        """The same."""
        return value

    def number(self) -> Any:
        """The first."""
        return 0


class MirroredDevices:
    """Several devices of this machine that hold the same variables (tf.distribute.MirroredStrategy).

    Args:
        names: of the devices, such as "GPU:0"; all GPUs where not given.
    """

    def __init__(self, names: list[str] | None = None) -> None:
        self._strategy = tf.distribute.MirroredStrategy(names)
        self.count = self._strategy.num_replicas_in_sync

    def scope(self) -> AbstractContextManager[Any]:
        """The strategy's."""
        return self._strategy.scope()

    def run(
        self, work: Callable[..., dict[str, Any]], parts: tuple[Any, ...], whole: tuple[Any, ...]
    ) -> dict[str, Any]:
        """Every `count`-th row goes to a device, so that each sees all classes of a batch."""
        shared = tuple(self._share(part) for part in parts)
        told = self._strategy.run(work, (*shared, *whole))
        return {name: self._strategy.reduce("MEAN", value, axis=None) for name, value in told.items()}

    def gather(self, value: Any) -> Any:
        """Of all devices."""
        return tf.distribute.get_replica_context().all_gather(value, axis=0)

    def number(self) -> Any:
        """In the strategy's order."""
        return tf.distribute.get_replica_context().replica_id_in_sync_group

    def _share(self, part: Any) -> Any:
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: part[context.replica_id_in_sync_group :: self.count]
        )


def choose_devices(wanted: str, batch: int) -> Devices:
    """The devices of `train.devices`; one where there are no two GPUs.

    Raises:
        UsageError: batches that cannot be shared out evenly.
    """
    count = len(tf.config.list_physical_devices("GPU"))
    if wanted == "one" or count < 2:
        return OneDevice()
    check_shares(batch, count)
    return MirroredDevices()


def check_shares(batch: int, count: int) -> None:
    """Raises UsageError for a batch that cannot be shared out evenly."""
    if batch % count:
        raise UsageError(
            f"train.classes_per_batch x train.examples_per_class: found batches of {batch}; a multiple of the {count} "
            "devices is expected"
        )
