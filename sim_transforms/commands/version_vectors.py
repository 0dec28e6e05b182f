"""Ids and vectors of a published version, by place in its items table."""

from typing import Any

import numpy as np
import pyarrow as pa

from sim_transforms.lookup.open import OpenVersion

Array = np.ndarray[Any, Any]


def ids_of(opened: OpenVersion) -> pa.Array:
    """[n] large_string, the ids of all items."""
    return opened.items.column("item_id").cast(pa.large_string()).combine_chunks()


def vectors_of_places(opened: OpenVersion, places: Array) -> Array:
    """[n, d] float32, contiguous, of [n] places."""
    return opened.vectors_at(opened.live_rows()[places])
