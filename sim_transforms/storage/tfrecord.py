"""TFRecord files without TensorFlow, so that look-ups, reports and samplers can read single records.

| bytes | holds |
|---|---|
| 8 | length of the payload, little endian |
| 4 | masked CRC32C of those 8 bytes |
| length | payload |
| 4 | masked CRC32C of the payload |

Of a file whose name ends with `.gz` each record is a gzip member of its own, framing included: offsets and lengths are
those of the members, so that single records can be read, and TensorFlow reads the file as one of its GZIP files.

Source: tensorflow/core/lib/io/record_writer.h.
"""

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from sim_transforms.errors import DamagedArtefact

FRAME_BYTES = 16
CRC_MASK = 0xA282EAD8
_MOST_AT_ONCE = 2**30  # a call gives less than 2 GiB
_LEVEL = 6
# Of a packed file that is looked at at once; what stands behind a record is copied.
_PIECE = 2**16


def frame(payload: bytes) -> bytes:
    """The record as it stands in the file: `len(payload) + FRAME_BYTES` bytes."""
    head = struct.pack("<Q", len(payload))
    return head + _masked_crc(head) + payload + _masked_crc(payload)


def is_packed(path: str) -> bool:
    """Whether the records of a file are gzip members, by its name."""
    return path.endswith(".gz")


def pack(framed: bytes) -> bytes:
    """A framed record as a gzip member; the same bytes for the same record."""
    return gzip.compress(framed, _LEVEL, mtime=0)


def read_records(path: Path) -> Iterator[bytes]:
    """Payloads in file order.

    Raises:
        DamagedArtefact: the file ends inside a record or a checksum differs; names file and byte.
    """
    if is_packed(str(path)):
        yield from _read_packed(path)
        return
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
    if is_packed(path):
        yield from _split_packed(data, path, offset)
        return
    start = 0
    while start < len(data):
        end = start + FRAME_BYTES + int.from_bytes(data[start : start + 8], "little")
        yield _payload(data[start:end], path, offset + start)
        start = end


def read_range(descriptor: int, offset: int, length: int, path: str) -> bytes:
    """Bytes of an open file, of any number; thread-safe; raises DamagedArtefact where they are not there."""
    pieces, left = [], length
    while left:
        try:
            piece = os.pread(descriptor, min(left, _MOST_AT_ONCE), offset + length - left)
        except OSError as error:
            raise DamagedArtefact(f"{path} cannot be read: {error}") from error
        if not piece:
            raise DamagedArtefact(f"{path} ends before byte {offset + length}")
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_record(descriptor: int, offset: int, length: int, path: str) -> bytes:
    """Payload of the record of `length` bytes (framing included) at `offset` of an open file; thread-safe."""
    data = os.pread(descriptor, length, offset)
    if not is_packed(path):
        return _payload(data, path, offset)
    records = list(_split_packed(data, path, offset))
    if len(records) != 1:
        raise DamagedArtefact(f"{path}: {len(records)} records stand at byte {offset} where one is expected")
    return records[0]


def _read_packed(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _unpacked(iter(lambda: file.read(_PIECE), b""), str(path), 0)


def _split_packed(data: bytes, path: str, offset: int) -> Iterator[bytes]:
    pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
    return _unpacked(pieces, path, offset)


def _unpacked(pieces: Iterator[bytes], path: str, offset: int) -> Iterator[bytes]:
    """Payloads of the gzip members that the pieces make up, of which the first begins at byte `offset` of a file."""
    inflate, framed, length = zlib.decompressobj(wbits=31), [], 0
    for piece in pieces:
        left = piece
        while left:
            try:
                framed.append(inflate.decompress(left))
            except zlib.error as error:
                raise DamagedArtefact(f"{path}: the record at byte {offset} is no gzip member: {error}") from error
            rest = inflate.unused_data
            length += len(left) - len(rest)
            left = rest
            if inflate.eof:
                yield _payload(b"".join(framed), path, offset)
                inflate, framed, offset, length = zlib.decompressobj(wbits=31), [], offset + length, 0
    if length:
        raise DamagedArtefact(f"{path}: the record at byte {offset} is cut short")


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
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + CRC_MASK) & 0xFFFFFFFF)
