"""Many short reads at offsets in one call, without Python's lock: else what a call costs is most of such a read."""

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba import types

Array = np.ndarray[Any, Any]

_pread = types.ExternalFunction("pread", types.int64(types.int32, types.uint64, types.uint64, types.int64))


@numba.njit(cache=True, nogil=True)
def _fill(descriptors: Array, offsets: Array, lengths: Array, begins: Array, address: np.uint64) -> int:
    """Reads into memory at an address plus `begins`; gives how many reads were not whole."""
    failed = 0
    for i in range(len(descriptors)):
        place = address + np.uint64(begins[i])
        if _pread(descriptors[i], place, np.uint64(lengths[i]), offsets[i]) != lengths[i]:
            failed += 1
    return failed


def read_scattered(descriptors: Sequence[int], offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes] | None:
    """Bytes of open files.

    Args:
        descriptors: of the files.
        offsets: of the first byte of each read.
        lengths: of each read, above 0.

    Returns:
        Null where one could not be read whole, which plain reads tell more of.
    """
    sizes = np.asarray(lengths, np.int64)
    ends = np.cumsum(sizes)
    data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    begins = ends - sizes
    where = np.asarray(descriptors, np.int32), np.asarray(offsets, np.int64)
    if _fill(*where, sizes, begins, np.uint64(data.ctypes.data)):
        return None
    whole = data.tobytes()
    return [whole[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
