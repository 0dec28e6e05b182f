"""The native file of NMSLIB 2.1.2's optimised HNSW, written and read without NMSLIB.

Opens with stock `nmslib`: `init(method="hnsw", space=...)`, `loadIndex(path, load_data=False)`. Little endian.

| part | field | type | holds |
|---|---|---|---|
| header | optimised | u32 | 1 |
| | items | u32 | n, at most 2^31 - 1 |
| | record bytes | u64 | 16 + 4 d + 4 + 4 maxM0 |
| | offset of links | u64 | 16 + 4 d: where in a record the link count stands |
| | offset of data | u64 | 0 |
| | max level | i32 | highest level of any item, 0 to 63 |
| | entry point | u32 | row at which searches start, an item of the highest level |
| | maxM, maxM0 | u64, u64 | most links above and in layer 0: m, 2 m |
| | distance | i32 | 1: l2, d a multiple of 16; 2: l2, other d; 4: minus the inner product |
| | search method | u64 | 3 |
| records, n times | id | i32 | row |
| | label | i32 | -1 |
| | vector bytes | u64 | 4 d |
| | vector | f32[d] | finite, shorter than 2^62 |
| | link count | i32 | at most maxM0 |
| | links | i32[maxM0] | other rows, each once; unused ones 0 |
| upper, n times | size | u32 | level x 4 (maxM + 1) |
| | levels 1.. | i32[maxM + 1] | link count, links to other rows of that level or above, each once; unused ones 0 |

A file of 0 items is the header alone; NMSLIB cannot open it, and `search.NativeSearcher` does not try.
NMSLIB's own files, which are read here too, hold anything in unused links. `file_header.py` checks the header,
`file_check.py` all the rest. Source: NMSLIB, similarity_search/src/method/hnsw.cc, `SaveOptimizedIndex`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.file_check import check_records, check_upper
from sim_transforms.hnsw.file_header import (
    HEADER_BYTES,
    Header,
    damaged,
    header_bytes,
    read_header,
    record_type,
)
from sim_transforms.hnsw.file_kernels import fill_records, fill_upper
from sim_transforms.hnsw.upper import UpperLayers
from sim_transforms.settings.stages import IndexSettings

__all__ = [
    "HEADER_BYTES",
    "Header",
    "NativeIndex",
    "header_bytes",
    "map_vectors",
    "read_header",
    "read_index",
    "read_vector",
    "record_bytes",
    "record_type",
    "upper_bytes",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class NativeIndex:
    """A file that has been checked whole.

    Attributes:
        header: its header.
        records: [n] structured, memory-mapped; fields id, label, bytes, vector [d], count, links [maxM0].
        levels: [n] int32, highest level of each row.
        upper: int32 words after the records, memory-mapped; those of row i, without its size, are
            `starts[i]` to `starts[i] + levels[i] * (maxM + 1)`.
        starts: [n] int64.
    """

    header: Header
    records: Array
    levels: Array
    upper: Array
    starts: Array


def record_bytes(vectors: Array, first_row: int, links: Array) -> memoryview:
    """Records of rows first_row, first_row + 1, ...

    Args:
        vectors: [n, d] float32, prepared for the space.
        first_row: row of the first record.
        links: [n, maxM0] int32 rows of the merged file, padded with -1 at the end.
    """
    words = np.empty((len(vectors), record_type(vectors.shape[1], links.shape[1]).itemsize // 4), "<i4")
    fill_records(words, words.view("<f4"), vectors, first_row, links)
    return words.reshape(-1).view(np.uint8).data


def upper_bytes(first_row: int, items: int, upper: UpperLayers, settings: IndexSettings) -> memoryview:
    """The upper part of rows first_row to first_row + items."""
    width = settings.m + 1
    low, high = np.searchsorted(upper.rows, (first_row, first_row + items))
    levels = upper.levels[low:high]
    words = np.zeros(items + width * int(levels.sum(dtype=np.int64)), "<i4")
    rows = upper.rows[low:high].astype(np.int64) - first_row
    fill_upper(words, rows, levels, upper.starts[low:high], upper.links, width)
    return words.view(np.uint8).data


def read_vector(path: Path, row: int) -> Array:
    """[d] float32 of one row, as it was prepared; reads nothing else."""
    header = read_header(path)
    if not 0 <= row < header.items:
        raise damaged(path, f"row {row} was asked for, but the file holds {header.items}")
    record = header.record()
    with path.open("rb") as file:
        data = os.pread(file.fileno(), record.itemsize, HEADER_BYTES + row * record.itemsize)
    return np.array(np.frombuffer(data, record)[0]["vector"], np.float32)


def map_vectors(path: Path) -> Array:
    """[n, d] float32 of all rows, as they were prepared, memory-mapped; checks the header alone."""
    header = read_header(path)
    if not header.items:
        return np.zeros((0, header.dimension), np.float32)
    return np.asarray(np.memmap(path, header.record(), "r", HEADER_BYTES, (header.items,))["vector"])


def read_index(path: Path) -> NativeIndex:
    """Maps the file and checks every record and every link; `file_check.py` says against what.

    Reads the file once, in blocks; holds 12 bytes an item (levels and starts) and some MiB.

    Raises:
        DamagedArtefact: names the first row, byte and field that cannot be.
    """
    header = read_header(path)
    record = header.record()
    if not header.items:
        empty = np.zeros(0, np.int32)
        return NativeIndex(header, np.zeros(0, record), empty, empty, np.zeros(0, np.int64))
    check_records(path, header)
    records = np.memmap(path, record, "r", HEADER_BYTES, (header.items,))
    words = np.asarray(np.memmap(path, "<i4", "r", HEADER_BYTES + header.items * record.itemsize))
    levels, starts = check_upper(path, header, words)
    return NativeIndex(header, records, levels, words, starts)
