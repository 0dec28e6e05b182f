"""CRC32C as object stores give it, and SHA-256."""

import base64
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import google_crc32c

from sim_transforms.errors import DamagedArtefact
from sim_transforms.records.manifests import FileEntry, FilePart, IndexFile
from sim_transforms.storage.files import FileRange

_BLOCK = 4 * 2**20
_CRC_BLOCK = 2**20  # stays in the processor's cache between the read and the sum
_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
EMPTY_CRC32C = "AAAAAA=="


class FileDigests:
    """Checksums of a file that is being written or read, piece by piece."""

    def __init__(self) -> None:
        self._crc, self._sha, self._size = 0, hashlib.sha256(), 0

    def add(self, piece: bytes) -> None:
        """Goes on with the next piece."""
        self._crc = google_crc32c.extend(self._crc, piece)
        self._sha.update(piece)
        self._size += len(piece)

    def entry(self, name: str) -> FileEntry:
        """Describes the file as far as it has been told."""
        return FileEntry(name, self._size, _encode(self._crc), self._sha.hexdigest())


def file_entry(folder: Path, name: str) -> FileEntry:
    """Describes a file in one pass."""
    digests = FileDigests()
    with (folder / name).open("rb") as file:
        while block := file.read(_BLOCK):
            digests.add(block)
    return digests.entry(name)


def crc32c_of(path: Path, offset: int = 0, size_bytes: int | None = None) -> str:
    """CRC32C of a file's content, or of a range of it, as `FileEntry` has it; some 10 GiB a second in memory."""
    crc = 0
    with FileRange(path, offset, size_bytes) as file:
        while block := file.read(_CRC_BLOCK):
            crc = google_crc32c.extend(crc, block)
    return _encode(crc)


def index_file(path: Path, part_sizes: Sequence[int]) -> IndexFile:
    """Describes index.hnsw by its parts; the whole file's CRC32C is combined from theirs.

    Args:
        path: of the file.
        part_sizes: bytes of each part, in file order; their sum is the file's size.

    Raises:
        DamagedArtefact: it is not.
    """
    whole, parts, offset = EMPTY_CRC32C, [], 0
    with path.open("rb") as file:
        for size in part_sizes:
            crc, sha = google_crc32c.Checksum(), hashlib.sha256()
            for start in range(0, size, _BLOCK):
                block = file.read(min(_BLOCK, size - start))
                if len(block) != min(_BLOCK, size - start):
                    raise DamagedArtefact(f"{path} ends before its part at byte {offset} does")
                crc.update(block)
                sha.update(block)
            whole = combine_crc32c(whole, base64.b64encode(crc.digest()).decode(), size)
            parts.append(FilePart(offset, size, sha.hexdigest()))
            offset += size
        if file.read(1):
            raise DamagedArtefact(f"{path} goes on after its parts, which end at byte {offset}")
    return IndexFile(offset, whole, tuple(parts))


def combine_crc32c(first: str, second: str, second_bytes: int) -> str:
    """CRC32C of two byte strings one after the other, from theirs and the length of the second.

    The first checksum is moved past `second_bytes` zero bytes by squaring the matrix of one zero bit over GF(2)
    (Adler, crc32_combine of zlib).
    """
    crc, operator = _decode(first), _one_zero_bit()
    length = second_bytes * 8
    while length:
        if length & 1:
            crc = _times(operator, crc)
        operator = [_times(operator, column) for column in operator]
        length >>= 1
    return _encode(crc ^ _decode(second))


def _one_zero_bit() -> list[int]:
    return [_POLYNOMIAL, *(1 << bit for bit in range(31))]


def _times(matrix: Sequence[int], vector: int) -> int:
    total, place = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[place]
        vector >>= 1
        place += 1
    return total


def _decode(text: str) -> int:
    return int(struct.unpack(">I", base64.b64decode(text))[0])


def _encode(value: int) -> str:
    return base64.b64encode(struct.pack(">I", value)).decode()
