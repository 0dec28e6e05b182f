"""The header of the native file (drawn in `file_format.py`): written, read, and every field checked.

What is checked here costs a few reads of some bytes, whatever the size of the file, so that a look-up can afford it
before each opening: NMSLIB 2.1.2 itself checks the distance type alone, and with any other wrong field it reads past
its memory, asks for absurd amounts of it, or frees what it never got.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import UpperLayers
from sim_transforms.settings.stages import IndexSettings

_HEADER = struct.Struct("<IIQQQiIQQiQ")
_OBJECT = struct.Struct("<iiQ")
HEADER_BYTES = _HEADER.size
_SEARCH_METHOD = 3
_INNER_PRODUCT = 4

# NMSLIB holds rows in 32-bit signed numbers.
_MOST_ITEMS = 2**31 - 1
_MOST_DIMENSION = 2**22 - 8
# NMSLIB draws level -log(u) / log(m), u at least 2^-32: 32 for m = 2, the least; the layers above are one more.
_MOST_LEVEL = 63


@dataclass(frozen=True)
class Header:
    """The header's fields that vary; `dimension` follows from the offset of links."""

    items: int
    dimension: int
    max_level: int
    entry_row: int
    max_m: int
    max_m0: int
    distance: int

    @property
    def is_inner_product(self) -> bool:
        """Whether distances are minus inner products."""
        return self.distance == _INNER_PRODUCT

    def record(self) -> np.dtype[Any]:
        """Layout of one record."""
        return record_type(self.dimension, self.max_m0)


def record_type(dimension: int, max_m0: int) -> np.dtype[Any]:
    """numpy layout of a record."""
    return np.dtype(
        [
            ("id", "<i4"),
            ("label", "<i4"),
            ("bytes", "<u8"),
            ("vector", "<f4", (dimension,)),
            ("count", "<i4"),
            ("links", "<i4", (max_m0,)),
        ]
    )


def header_bytes(items: int, dimension: int, settings: IndexSettings, upper: UpperLayers) -> bytes:
    """The header of a merged file.

    Raises:
        UsageError: more items or a higher dimension than the format holds.
    """
    if not (0 <= items <= _MOST_ITEMS and 1 <= dimension <= _MOST_DIMENSION):
        what = f"{items} items of dimension {dimension} do not fit into one index"
        raise UsageError(f"{what}: up to {_MOST_ITEMS} items of dimension 1 to {_MOST_DIMENSION} do; split the catalog")
    record = record_type(dimension, 2 * settings.m)
    fields = (1, items, record.itemsize, 16 + 4 * dimension, 0, upper.max_level, upper.entry_row)
    kind = _distance_kind(space_of(settings.space).nmslib_space, dimension)
    return _HEADER.pack(*fields, settings.m, 2 * settings.m, kind, _SEARCH_METHOD)


def _distance_kind(nmslib_space: str, dimension: int) -> int:
    if nmslib_space == "negdotprod":
        return _INNER_PRODUCT
    return 1 if dimension % 16 == 0 else 2


def read_header(path: Path) -> Header:
    """Reads and checks the header, the size of the file against it, and the ends of the records.

    Raises:
        DamagedArtefact: no such file; a field that no file of this format has; a size that no upper links of the
            header's level give; or the first, the last or the entry point's record is not where it should be.
    """
    if not path.is_file():
        raise damaged(path, "there is no such file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(HEADER_BYTES)
        if len(data) < HEADER_BYTES:
            raise damaged(path, f"{size} bytes are no header of {HEADER_BYTES}")
        header = _checked_header(path, size, data)
        _check_ends(path, header, file.fileno())
    return header


def _checked_header(path: Path, size: int, data: bytes) -> Header:
    optimised, items, record, links, data_at, level, entry, max_m, max_m0, kind, method = _HEADER.unpack(data)
    dimension = (links - 16) // 4
    upper = size - HEADER_BYTES - items * (record + 4)
    checks = [
        ("optimised", optimised, optimised == 1, "1"),
        ("offset of links", links, links % 4 == 0 and 1 <= dimension <= _MOST_DIMENSION, "16 + 4 x dimension"),
        ("maxM", max_m, 0 < max_m < 2**16, "from 1 to 65535"),
        ("maxM0", max_m0, max_m0 in (max_m, 2 * max_m), "maxM or twice that"),
        ("record bytes", record, record == links + 4 + 4 * max_m0, "offset of links + 4 + 4 maxM0"),
        ("offset of data", data_at, data_at == 0, "0"),
        ("max level", level, 0 <= level <= (_MOST_LEVEL if items else 0), f"from 0 to {_MOST_LEVEL if items else 0}"),
        ("entry point", entry, entry < max(items, 1), "one of its rows"),
        ("distance", kind, kind in (_INNER_PRODUCT, _distance_kind("l2", dimension)), "one for its dimension"),
        ("search method", method, method == _SEARCH_METHOD, str(_SEARCH_METHOD)),
        ("items", items, items <= _MOST_ITEMS and upper >= 0, "as many as there are bytes for"),
    ]
    for name, value, holds, expected in checks:
        if not holds:
            raise damaged(path, f"header field {name} is {value} in a file of {size} bytes, expected {expected}")
    blocks, rest = divmod(upper, 4 * (max_m + 1))
    if rest or not level <= blocks <= items * level:
        what = f"{upper} bytes of upper links in a file of {size} bytes"
        raise damaged(path, f"{what}, which {items} items up to level {level} with maxM {max_m} cannot have")
    return Header(items, dimension, level, entry, max_m, max_m0, kind)


def _check_ends(path: Path, header: Header, descriptor: int) -> None:
    """Catches, among others, a file that was set to its full size before all its bytes came."""
    for row in {0, header.entry_row, header.items - 1} if header.items else ():
        place = HEADER_BYTES + row * header.record().itemsize
        found = _OBJECT.unpack(os.pread(descriptor, _OBJECT.size, place))
        if found != (row, -1, 4 * header.dimension):
            what = f"id, label and vector bytes are {found}, expected {(row, -1, 4 * header.dimension)}"
            raise damaged(path, f"record of row {row} at byte {place}: {what}")


def damaged(path: Path, what: str) -> DamagedArtefact:
    """The error of every check of the file."""
    return DamagedArtefact(f"{path} is not a whole index: {what}; fetch it again, or publish a new version")
