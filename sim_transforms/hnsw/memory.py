"""Gives freed memory back to the system between large pieces of work."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_memory_back() -> None:
    """Returns freed memory to the system, where the C library has a function for it.

    glibc keeps freed blocks below its growing threshold (up to 32 MiB) for later: a closed shard of 8 MiB left all 8
    in the process until `malloc_trim`, and a worker that had seen 50 shards held 60 MiB more than one that had seen 5.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
