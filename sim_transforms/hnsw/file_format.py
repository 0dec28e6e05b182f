"""The native file of NMSLIB 2.1.2's optimised HNSW, written and read without NMSLIB.

Opens with stock `nmslib`: `init(method="hnsw", space=...)`, `loadIndex(path, load_data=False)`. Little endian.

| part | field | type | holds |
|---|---|---|---|
| header | optimised | u32 | 1 |
| | items | u32 | n |
| | record bytes | u64 | 16 + 4 d + 4 + 4 maxM0 |
| | offset of links | u64 | 16 + 4 d: where in a record the link count stands |
| | offset of data | u64 | 0 |
| | max level | i32 | highest level of any item |
| | entry point | u32 | row at which searches start |
| | maxM, maxM0 | u64, u64 | most links above and in layer 0: m, 2 m |
| | distance | i32 | 1: l2, d a multiple of 16; 2: l2, other d; 4: minus the inner product |
| | search method | u64 | 3 |
| records, n times | id | i32 | row |
| | label | i32 | -1 |
| | vector bytes | u64 | 4 d |
| | vector | f32[d] | |
| | link count | i32 | at most maxM0 |
| | links | i32[maxM0] | rows; unused ones 0 |
| upper, n times | size | u32 | level x 4 (maxM + 1) |
| | levels 1.. | i32[maxM + 1] | link count, links; unused ones 0 |

A file of 0 items is the header alone; NMSLIB cannot open it, and `search.NativeSearcher` does not try.
Source: NMSLIB, similarity_search/src/method/hnsw.cc, `SaveOptimizedIndex`.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

from sim_transforms.errors import DamagedArtefact
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import UpperLayers
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

_HEADER = struct.Struct("<IIQQQiIQQiQ")
HEADER_BYTES = _HEADER.size
_SEARCH_METHOD = 3
_INNER_PRODUCT = 4


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


@dataclass(frozen=True)
class NativeIndex:
    """A file that has been checked whole.

    Attributes:
        header: its header.
        records: [n] structured, memory-mapped; fields id, label, bytes, vector [d], count, links [maxM0].
        levels: [n] int32, highest level of each row.
        upper: the upper links' int32 words, without the sizes: for row i words
            `starts[i]` to `starts[i] + levels[i] * (maxM + 1)`.
        starts: [n] int64.
    """

    header: Header
    records: Array
    levels: Array
    upper: Array
    starts: Array


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
    """The header of a merged file."""
    record = record_type(dimension, 2 * settings.m)
    links = 16 + 4 * dimension
    fields = (1, items, record.itemsize, links, 0, upper.max_level, upper.entry_row)
    kind = _distance_kind(space_of(settings.space).nmslib_space, dimension)
    return _HEADER.pack(*fields, settings.m, 2 * settings.m, kind, _SEARCH_METHOD)


def _distance_kind(nmslib_space: str, dimension: int) -> int:
    if nmslib_space == "negdotprod":
        return _INNER_PRODUCT
    return 1 if dimension % 16 == 0 else 2


def record_bytes(vectors: Array, first_row: int, links: Array) -> bytes:
    """Records of rows first_row, first_row + 1, ...

    Args:
        vectors: [n, d] float32, prepared for the space.
        first_row: row of the first record.
        links: [n, maxM0] int32 rows of the merged file, padded with -1 at the end.
    """
    records = np.zeros(len(vectors), record_type(vectors.shape[1], links.shape[1]))
    records["id"] = np.arange(first_row, first_row + len(vectors))
    records["label"] = -1
    records["bytes"] = 4 * vectors.shape[1]
    records["vector"] = vectors
    records["count"] = (links >= 0).sum(axis=1)
    records["links"] = np.maximum(links, 0)
    return records.tobytes()


def upper_bytes(first_row: int, items: int, upper: UpperLayers, settings: IndexSettings) -> bytes:
    """The upper part of rows first_row to first_row + items."""
    width = settings.m + 1
    low, high = np.searchsorted(upper.rows, (first_row, first_row + items))
    levels = np.zeros(items, np.int64)
    levels[upper.rows[low:high] - first_row] = upper.levels[low:high]
    starts = np.concatenate([[0], np.cumsum(1 + levels * width)])
    words = np.zeros(int(starts[-1]), "<i4")
    words[starts[:-1]] = 4 * width * levels
    for place in range(low, high):
        start = int(starts[upper.rows[place] - first_row]) + 1
        block = upper.links[upper.starts[place] : upper.starts[place] + upper.levels[place] * width]
        words[start : start + len(block)] = block
    return words.tobytes()


def read_header(path: Path) -> Header:
    """Reads and checks the header, and the size of the file as far as the header tells it.

    Raises:
        DamagedArtefact: no such file, a field that no file of this format has, or too short for its records.
    """
    if not path.is_file():
        raise _damaged(path, "there is no such file")
    size = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(HEADER_BYTES)
    if len(data) < HEADER_BYTES:
        raise _damaged(path, f"{size} bytes are no header of {HEADER_BYTES}")
    optimised, items, record, links, data_at, level, entry, max_m, max_m0, kind, method = _HEADER.unpack(data)
    dimension = (links - 16) // 4
    checks = [
        ("optimised", optimised, optimised == 1),
        ("offset of links", links, links % 4 == 0 and 16 < links < 2**24),
        ("maxM", max_m, 0 < max_m < 2**16),
        ("maxM0", max_m0, max_m0 in (max_m, 2 * max_m)),
        ("record bytes", record, record == links + 4 + 4 * max_m0),
        ("offset of data", data_at, data_at == 0),
        ("max level", level, 0 <= level < 64),
        ("entry point", entry, entry < max(items, 1)),
        ("distance", kind, kind == _INNER_PRODUCT or kind == _distance_kind("l2", dimension)),
        ("search method", method, method == _SEARCH_METHOD),
        ("items", items, size >= HEADER_BYTES + items * (record + 4) and (items > 0 or size == HEADER_BYTES)),
    ]
    for name, value, holds in checks:
        if not holds:
            raise _damaged(path, f"header field {name} is {value} in a file of {size} bytes")
    return Header(items, dimension, level, entry, max_m, max_m0, kind)


def read_vector(path: Path, row: int) -> Array:
    """[d] float32 of one row, as it was prepared; reads nothing else."""
    header = read_header(path)
    if not 0 <= row < header.items:
        raise _damaged(path, f"row {row} was asked for, but the file holds {header.items}")
    record = header.record()
    with path.open("rb") as file:
        data = os.pread(file.fileno(), record.itemsize, HEADER_BYTES + row * record.itemsize)
    return np.array(np.frombuffer(data, record)[0]["vector"], np.float32)


def read_index(path: Path) -> NativeIndex:
    """Maps the file and checks every record and every link.

    Raises:
        DamagedArtefact: names the first row and field that cannot be.
    """
    header = read_header(path)
    record = header.record()
    if not header.items:
        empty = np.zeros(0, np.int32)
        return NativeIndex(header, np.zeros(0, record), empty, empty, np.zeros(0, np.int64))
    records = np.memmap(path, record, "r", HEADER_BYTES, (header.items,))
    _check_records(path, header, records)
    words = np.fromfile(path, np.uint8, offset=HEADER_BYTES + header.items * record.itemsize)
    if len(words) % 4:
        raise _damaged(path, f"the upper links end inside a word, {len(words)} bytes")
    levels, starts, problem = _scan_upper(words.view("<i4"), header.items, header.max_m, header.max_level)
    if problem >= 0:
        raise _damaged(path, f"upper links of row {problem}: size, count or a link is out of range")
    if levels.max() != header.max_level or levels[header.entry_row] != header.max_level:
        raise _damaged(path, f"the entry point {header.entry_row} is not at the highest level {levels.max()}")
    return NativeIndex(header, records, levels, words.view("<i4"), starts)


def _check_records(path: Path, header: Header, records: Array) -> None:
    rows = np.arange(header.items)
    counts = np.asarray(records["count"])
    bad = (records["id"] != rows) | (records["label"] != -1) | (records["bytes"] != 4 * header.dimension) | (counts < 0)
    bad |= counts > header.max_m0
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise _damaged(path, f"record of row {row}: its id, label, vector bytes or link count cannot be")
    row = _bad_link(np.ascontiguousarray(records["links"]), counts, header.items)
    if row >= 0:
        raise _damaged(path, f"record of row {row}: a link is out of range, to itself, or stands twice")
    finite = np.isfinite(np.asarray(records["vector"])).all(axis=1)
    if not finite.all():
        raise _damaged(path, f"record of row {int(np.flatnonzero(~finite)[0])}: its vector is not finite")


@numba.njit(cache=True)
def _bad_link(links: Array, counts: Array, items: int) -> int:
    """First row with a link that cannot be, or -1."""
    for row in range(len(counts)):
        for i in range(counts[row]):
            link = links[row, i]
            if link < 0 or link >= items or link == row:
                return row
            for j in range(i):
                if links[row, j] == link:
                    return row
    return -1


@numba.njit(cache=True)
def _scan_upper(words: Array, items: int, max_m: int, max_level: int) -> tuple[Array, Array, int]:
    """(levels [n] int32, starts [n] int64, first row that cannot be or -1)."""
    width = max_m + 1
    levels, starts = np.zeros(items, np.int32), np.zeros(items, np.int64)
    place = 0
    for row in range(items):
        size = words[place] if place < len(words) else -1
        if size < 0 or size % (4 * width) or place + 1 + size // 4 > len(words) or size // (4 * width) > max_level:
            return levels, starts, row
        levels[row], starts[row] = size // (4 * width), place + 1
        place += 1 + size // 4
    if place != len(words):
        return levels, starts, items - 1
    for row in range(items):
        for level in range(levels[row]):
            start = starts[row] + level * width
            count = words[start]
            if count < 0 or count > max_m:
                return levels, starts, row
            for i in range(count):
                link = words[start + 1 + i]
                if link < 0 or link >= items or link == row or levels[link] <= level:
                    return levels, starts, row
    return levels, starts, -1


def _damaged(path: Path, what: str) -> DamagedArtefact:
    return DamagedArtefact(f"{path} is not a whole index: {what}; fetch it again, or publish a new version")
