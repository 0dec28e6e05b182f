"""Compiled loops that lay out records and upper blocks of the file (`file_format.py` draws it)."""

from typing import Any

import numba
import numpy as np

Array = np.ndarray[Any, Any]


@numba.njit(cache=True, nogil=True)
def fill_records(words: Array, floats: Array, vectors: Array, first_row: int, links: Array) -> None:
    """Fills every word of the records of rows first_row, first_row + 1, ...

    Args:
        words: [n, 4 + d + 1 + w] int32, the records.
        floats: the same memory as float32.
        vectors: [n, d] float32.
        first_row: row of the first record.
        links: [n, w] int32 rows, padded with -1 at the end.
    """
    dimension = vectors.shape[1]
    for i in range(len(words)):
        words[i, 0], words[i, 1], words[i, 2], words[i, 3] = first_row + i, -1, 4 * dimension, 0
        for j in range(dimension):
            floats[i, 4 + j] = vectors[i, j]
        count = 0
        for j in range(links.shape[1]):
            link = links[i, j]
            count += link >= 0
            words[i, 5 + dimension + j] = max(link, 0)
        words[i, 4 + dimension] = count


@numba.njit(cache=True, nogil=True)
def fill_upper(words: Array, rows: Array, levels: Array, starts: Array, links: Array, width: int) -> None:
    """Fills the upper part into zeros.

    Args:
        words: [rows in all + width * sum of levels] int32.
        rows: [u] those of level >= 1, from 0 on, ascending.
        levels: [u] int32.
        starts: [u] int64 where in `links` the words of each begin.
        links: [w] int32.
        width: words of a row's links in one layer.
    """
    word, last = 0, 0
    for place in range(len(rows)):
        word += rows[place] - last
        count = levels[place] * width
        words[word] = 4 * count
        words[word + 1 : word + 1 + count] = links[starts[place] : starts[place] + count]
        word += 1 + count
        last = rows[place] + 1
