"""Reads .npy and .npz files, one at a time in a process.

NumPy parses a file's header with `ast.literal_eval`, and CPython 3.11 counts the depth of that parser in one place for
all threads: two that load at the same time can end with `SystemError: AST constructor recursion depth mismatch`
(python/cpython issue 106905). Workers load from several threads.
"""

import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

Array = np.ndarray[Any, Any]

_one_at_a_time = threading.Lock()


def load_array(source: Path | IO[bytes]) -> Array:
    """The array of an .npy file; raises OSError or ValueError where it is none."""
    with _one_at_a_time:
        return np.asarray(np.load(source, allow_pickle=False))


def map_array(path: str | Path) -> "np.memmap[Any, Any]":
    """The array of an .npy file, memory-mapped for reading."""
    with _one_at_a_time:
        mapped: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def load_arrays(source: Path | IO[bytes]) -> dict[str, Array]:
    """All arrays of an .npz file by their names."""
    with _one_at_a_time, np.load(source, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
