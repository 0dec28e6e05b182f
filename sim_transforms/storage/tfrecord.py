"""TFRecord files without TensorFlow, so that look-ups, reports and samplers can read single records.

| bytes | holds |
|---|---|
| 8 | length of the payload, little endian |
| 4 | masked CRC32C of those 8 bytes |
| length | payload |
| 4 | masked CRC32C of the payload |

Source: tensorflow/core/lib/io/record_writer.h.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from sim_transforms.errors import DamagedArtefact

FRAME_BYTES = 16


def frame(payload: bytes) -> bytes:
    """The record as it stands in the file: `len(payload) + FRAME_BYTES` bytes."""
    head = struct.pack("<Q", len(payload))
    return head + _masked_crc(head) + payload + _masked_crc(payload)


def read_records(path: Path) -> Iterator[bytes]:
    """Payloads in file order.

    Raises:
        DamagedArtefact: the file ends inside a record or a checksum differs; names file and byte.
    """
    with path.open("rb") as file:
        offset = 0
        while head := file.read(12):
            length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else 0
            payload = _payload(head + _exactly(file, length + 4), str(path), offset)
            offset += len(payload) + FRAME_BYTES
            yield payload


def split_records(data: bytes, path: str, offset: int) -> Iterator[bytes]:
    """Payloads of the records that `data`, which stands at byte `offset` of a file, is made of.

    Raises:
        DamagedArtefact: `data` ends inside a record or a checksum differs; names file and byte.
    """
    start = 0
    while start < len(data):
        end = start + FRAME_BYTES + int.from_bytes(data[start : start + 8], "little")
        yield _payload(data[start:end], path, offset + start)
        start = end


def read_record(descriptor: int, offset: int, length: int, path: str) -> bytes:
    """Payload of the record of `length` bytes (framing included) at `offset` of an open file; thread-safe."""
    return _payload(os.pread(descriptor, length, offset), path, offset)


def _exactly(file: BinaryIO, length: int) -> bytes:
    # A damaged length field must not make us ask for exabytes.
    remaining = os.fstat(file.fileno()).st_size - file.tell()
    return file.read(min(length, remaining))


def _payload(data: bytes, path: str, offset: int) -> bytes:
    if len(data) < FRAME_BYTES or struct.unpack("<Q", data[:8])[0] != len(data) - FRAME_BYTES:
        raise DamagedArtefact(f"{path}: the record at byte {offset} is cut short or its length is wrong")
    payload = data[12:-4]
    if data[8:12] != _masked_crc(data[:8]) or data[-4:] != _masked_crc(payload):
        raise DamagedArtefact(f"{path}: the checksum of the record at byte {offset} differs")
    return payload


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
