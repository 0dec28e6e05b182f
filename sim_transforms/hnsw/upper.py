"""The upper layers of a merged graph, as its file holds them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class UpperLayers:
    """Links of the items of level >= 1.

    Attributes:
        max_level, entry_row: of the merged graph.
        rows: [u] int32 global rows, ascending.
        levels: [u] int32, at least 1.
        links: [w] int32 words as the file holds them: for each item and level a count and m global rows.
        starts: [u] int64, where the words of an item start.
    """

    max_level: int
    entry_row: int
    rows: Array
    levels: Array
    links: Array
    starts: Array


def no_upper_layers() -> UpperLayers:
    """Of a graph in which every item stands in layer 0 alone."""
    empty = np.zeros(0, np.int32)
    return UpperLayers(0, 0, empty, empty, empty, np.zeros(0, np.int64))
