"""Every record and every link of a native file, checked in blocks: as fast as the disk, in bounded memory.

After these checks NMSLIB can do nothing wrong with the file: every address it computes lies inside what it has
loaded, every walk ends, and no distance overflows. What they leave out is harmless or is a matter of checksums:

- unused link slots: NMSLIB takes the first of them as the address of a prefetch, which cannot fault, and its own
  writer leaves there what the memory happened to hold;
- another finite value in a vector, another valid row in a link: NMSLIB answers, with other neighbours. The version's
  checksums catch these (whenever a version is opened).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np

from sim_transforms.hnsw.file_header import HEADER_BYTES, Header, damaged
from sim_transforms.hnsw.spaces import MOST_SQUARES

Array = np.ndarray[Any, Any]

_BLOCK_BYTES = 8 * 2**20


def check_records(path: Path, header: Header) -> None:
    """Reads all records once, in blocks of some MiB.

    Raises:
        DamagedArtefact: names the first row and field that cannot be.
    """
    table = _table(header.max_m0)
    for first_row, words in _record_blocks(path, header):
        place, word = _bad_record(words, words.view("<f4"), first_row, header.items, header.dimension, *table)
        if place >= 0:
            at = HEADER_BYTES + 4 * ((first_row + place) * words.shape[1] + word)
            what = _record_problem(header, words[place], word)
            raise damaged(path, f"record of row {first_row + place} at byte {at}: {what}")


def _record_blocks(path: Path, header: Header) -> Iterator[tuple[int, Array]]:
    """(first row, words [rows, record words] int32): the same buffer each time."""
    record = header.record().itemsize
    rows = min(header.items, max(1, _BLOCK_BYTES // record))
    buffer = np.empty((rows, record // 4), "<i4")
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        for first_row in range(0, header.items, rows):
            block = buffer[: header.items - first_row]
            if file.readinto(block.data) < block.nbytes:
                raise damaged(path, f"it ended while the records from row {first_row} on were read")
            yield first_row, block


def _record_problem(header: Header, words: Array, word: int) -> str:
    """What is wrong with one word of a record."""
    links = 5 + header.dimension
    if word < 3:
        found = (words[0], words[1], words[2:4].view("<u8")[0])[word]
        expected = ("the row", -1, 4 * header.dimension)[word]
        return f"its {('id', 'label', 'vector bytes')[word]} is {found}, expected {expected}"
    if word < links - 1:
        return "its vector is not finite, or too long for finite distances"
    if word < links:
        return f"its link count is {words[word]}, expected 0 to {header.max_m0}"
    return f"link {word - links} is {words[word]}: a link is out of range, to itself, or stands twice"


def check_upper(path: Path, header: Header, words: Array) -> tuple[Array, Array]:
    """Checks the upper links.

    Args:
        path: of the file, for messages.
        header: of the file.
        words: [w] int32, everything after the records.

    Returns:
        (levels [n] int32, starts [n] int64: the word after the size of each row).

    Raises:
        DamagedArtefact: names the first row and word that cannot be.
    """
    levels, starts = np.zeros(header.items, np.int32), np.zeros(header.items, np.int64)
    offset = HEADER_BYTES + header.items * header.record().itemsize
    row, word = _bad_size(words, header.max_m, header.max_level, levels, starts)
    if row >= 0:
        size = words[word] if word < len(words) else "missing"
        what = f"their size is {size}, expected a level up to {header.max_level} x {4 * (header.max_m + 1)} bytes"
        raise damaged(path, f"upper links of row {row} at byte {offset + 4 * word}: {what}, and all bytes used")
    if levels.max() != header.max_level or levels[header.entry_row] != header.max_level:
        found = f"the entry point, row {header.entry_row}, is at level {levels[header.entry_row]}"
        raise damaged(path, f"{found}; max level says {header.max_level}, the highest item is at {levels.max()}")
    row, word = _bad_upper_link(words, header.max_m, levels, starts, *_table(header.max_m))
    if row >= 0:
        what = f"a count or link is {words[word]}: out of range, to itself, to an item of a lower level, or twice"
        raise damaged(path, f"upper links of row {row} at byte {offset + 4 * word}: {what}")
    return levels, starts


def _table(most: int) -> tuple[Array, Array]:
    """(links int32, list numbers int64) of a hash table at most half full with the links of one list."""
    size = 1 << (2 * most).bit_length()
    return np.zeros(size, np.int32), np.full(size, -1, np.int64)


@numba.njit(cache=True, nogil=True)
def _stands_twice(link: int, number: int, links: Array, numbers: Array) -> bool:
    """Whether list `number` has brought this link already; notes it."""
    place = (link * 40503) & (len(links) - 1)
    while numbers[place] == number:
        if links[place] == link:
            return True
        place = (place + 1) & (len(links) - 1)
    links[place], numbers[place] = link, number
    return False


@numba.njit(cache=True, nogil=True)
def _bad_record(
    words: Array, floats: Array, first_row: int, items: int, dimension: int, seen: Array, numbers: Array
) -> tuple[int, int]:
    """(place in the block, word) of the first record that cannot be, or (-1, -1)."""
    at_count = 4 + dimension
    for place in range(len(words)):
        row = first_row + place
        if words[place, 0] != row:
            return place, 0
        if words[place, 1] != -1:
            return place, 1
        if words[place, 2] != 4 * dimension or words[place, 3] != 0:
            return place, 2
        squares = 0.0
        for value in floats[place, 4:at_count]:
            squares += np.float64(value) * np.float64(value)
        if not squares <= MOST_SQUARES:
            return place, 4
        count = words[place, at_count]
        if count < 0 or count > words.shape[1] - at_count - 1:
            return place, at_count
        for word in range(at_count + 1, at_count + 1 + count):
            link = words[place, word]
            if link < 0 or link >= items or link == row or _stands_twice(link, row, seen, numbers):
                return place, word
    return -1, -1


@numba.njit(cache=True, nogil=True)
def _bad_size(words: Array, max_m: int, max_level: int, levels: Array, starts: Array) -> tuple[int, int]:
    """Fills levels and starts; (row, word) of the first size that cannot be, or (-1, -1)."""
    block = 4 * (max_m + 1)
    word = 0
    for row in range(len(levels)):
        size = int(words[word]) if word < len(words) else -1
        if size < 0 or size % block or size // block > max_level:
            return row, word
        levels[row], starts[row] = size // block, word + 1
        word += 1 + size // 4
    return (-1, -1) if word == len(words) else (len(levels) - 1, starts[-1] - 1)


@numba.njit(cache=True, nogil=True)
def _bad_upper_link(
    words: Array, max_m: int, levels: Array, starts: Array, seen: Array, numbers: Array
) -> tuple[int, int]:
    """(row, word) of the first count or link that cannot be, or (-1, -1)."""
    for row in range(len(levels)):
        for level in range(1, levels[row] + 1):
            start = starts[row] + (level - 1) * (max_m + 1)
            if words[start] < 0 or words[start] > max_m:
                return row, start
            for word in range(start + 1, start + 1 + words[start]):
                link = words[word]
                if link < 0 or link >= len(levels) or link == row or levels[link] < level:
                    return row, word
                if _stands_twice(link, start, seen, numbers):
                    return row, word
    return -1, -1
