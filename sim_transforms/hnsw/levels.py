"""Levels of items: drawn by hash of the item's id, so that they depend on nothing else."""

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# NMSLIB's files hold the highest level as a signed int; no graph of 2^31 items comes near this one.
MAX_LEVEL = 40


def draw_levels(item_ids: Iterable[str], m: int, seed: int) -> Array:
    """[n] int8: level l or more for a share of m^-l of the items (Malkov & Yashunin 2018, section 4)."""
    draws = [hashlib.blake2b(f"level:{seed}:{item_id}".encode(), digest_size=8).digest() for item_id in item_ids]
    # From (0, 1]: the logarithm of 0 would be an infinite level.
    shares = (np.frombuffer(b"".join(draws), ">u8").astype(np.float64) + 1) / 2.0**64
    return np.minimum(np.floor(-np.log(shares) / math.log(m)), MAX_LEVEL).astype(np.int8)


def of_distinct(levels: Array, distinct: int) -> Array:
    """[n] int8: 0 from row `distinct` on: of items of the same vector one in the upper layers is enough."""
    return np.where(np.arange(len(levels)) < distinct, levels, 0).astype(np.int8)


def highest(levels: Array) -> int:
    """Row of the highest level, the lowest such row; 0 where there are no rows."""
    return int(np.argmax(levels)) if len(levels) else 0
