"""Draws items by hash of their id: the same items whatever the order, the files or the batches they come in."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.hnsw.spaces import space_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drawn:
    """Items that were drawn, in the order of their hashes.

    Attributes:
        item_ids: [n] text.
        vectors: [n, d] float32, as they were read.
    """

    item_ids: tuple[str, ...]
    vectors: Array

    def part(self, rows: Array | slice) -> "Drawn":
        """Some of the items."""
        numbers = np.arange(len(self.item_ids))[rows]
        return Drawn(tuple(self.item_ids[i] for i in numbers), self.vectors[numbers])


def rank(item_id: str, seed: int) -> int:
    """64 bits of a hash; the items of the lowest ranks are drawn."""
    return int.from_bytes(hashlib.sha256(f"draw:{seed}:{item_id}".encode()).digest()[:8], "big")


def draw(batches: Iterable[tuple[list[str], Array]], count: int, seed: int) -> Drawn:
    """The `count` items of the lowest (rank, id), all where there are fewer; holds at most twice as many and a batch.

    Args:
        batches: of (n item ids, [n, d] vectors).
        count: items wanted.
        seed: of the hash.
    """
    kept: list[tuple[int, str, Array]] = []
    limit = 2**64
    for ids, vectors in batches:
        ranks = [rank(item_id, seed) for item_id in ids]
        chosen = [row for row, value in enumerate(ranks) if value <= limit]
        # Copies: a view would keep the whole batch in memory.
        kept += [(ranks[row], ids[row], np.array(vectors[row], np.float32)) for row in chosen]
        if len(kept) > 2 * count:
            kept = _lowest(kept, count)
            limit = kept[-1][0] if kept else -1
    return _drawn(_lowest(kept, count))


def _lowest(kept: list[tuple[int, str, Array]], count: int) -> list[tuple[int, str, Array]]:
    return sorted(kept, key=_rank_and_id)[:count]


def _rank_and_id(entry: tuple[int, str, Array]) -> tuple[int, str]:
    return entry[0], entry[1]


def _drawn(kept: list[tuple[int, str, Array]]) -> Drawn:
    vectors = np.stack([vector for _, _, vector in kept]) if kept else np.zeros((0, 0), np.float32)
    return Drawn(tuple(item_id for _, item_id, _ in kept), vectors)


def without_rejects(drawn: Drawn, space: str) -> Drawn:
    """Leaves out what the index would reject: vectors that are not finite, and in `cosine` zero vectors."""
    reasons = space_of(space).reject_reasons(drawn.vectors)
    return drawn.part(np.array([row for row, reason in enumerate(reasons) if reason is None], np.int64))
