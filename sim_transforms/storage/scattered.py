"""Many records at any offsets in one call: their reads without Python's lock, their checksums all at once.

Apart from `tfrecord`, whose readers are started often and need no compiled loop.
"""

from collections.abc import Sequence
from typing import Any

import google_crc32c
import numba
import numpy as np
from numba import types

from sim_transforms.storage.tfrecord import CRC_MASK, FRAME_BYTES, is_packed, read_record

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


def read_payloads(
    descriptors: Array | Sequence[int],
    offsets: Array | Sequence[int],
    lengths: Array | Sequence[int],
    paths: Sequence[str],
) -> list[bytes]:
    """`read_record` of several records, in a third of the time, for those who read millions.

    The checksums of the lengths are left out, as a length that is the one asked for is right. Where anything differs,
    and of packed files, record by record.

    Args:
        descriptors: [n], of open files.
        offsets: [n], bytes.
        lengths: [n], bytes with the framing.
        paths: of the files, for errors.

    Raises:
        DamagedArtefact: as `read_record`.
    """
    files, begins, sizes = (
        np.asarray(descriptors, np.int32),
        np.asarray(offsets, np.int64),
        np.asarray(lengths, np.int64),
    )
    if paths and not is_packed(paths[0]) and sizes.min() >= FRAME_BYTES:
        payloads = _whole_payloads(files, begins, sizes)
        if payloads is not None:
            return payloads
    where = zip(files.tolist(), begins.tolist(), sizes.tolist(), paths, strict=True)
    return [read_record(*each) for each in where]


def _whole_payloads(descriptors: Array, offsets: Array, lengths: Array) -> list[bytes] | None:
    """Null where one could not be read whole, or a length or a checksum differs."""
    ends = np.cumsum(lengths)
    begins, data = ends - lengths, np.empty(int(ends[-1]), np.uint8)
    if _fill(descriptors, offsets, lengths, begins, np.uint64(data.ctypes.data)):
        return None
    whole = data.tobytes()
    framed = [whole[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    payloads = [each[12:-4] for each in framed]
    told = np.frombuffer(b"".join([each[:8] for each in framed]), "<u8")
    stored = np.frombuffer(b"".join([each[-4:] for each in framed]), "<u4")
    crc = np.fromiter(map(google_crc32c.value, payloads), np.uint32, len(payloads))
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(CRC_MASK)
    holds = (masked == stored).all() and (told == lengths.astype(np.uint64) - FRAME_BYTES).all()
    return payloads if holds else None
