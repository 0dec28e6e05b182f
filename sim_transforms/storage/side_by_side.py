"""Requests to a store side by side, because each waits for the network."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from sim_transforms.errors import NotFound
from sim_transforms.storage.object_store import ObjectStore

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(function: Callable[[T], R], items: Iterable[T], threads: int = 8) -> list[R]:
    """Results in the order of the items; after an error what has not begun is left, and the error raised."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


def discard(store: ObjectStore, names: Sequence[str]) -> None:
    """Removes those of the objects that are there."""

    def remove(name: str) -> None:
        with suppress(NotFound):
            store.delete(name)

    side_by_side(remove, names)
