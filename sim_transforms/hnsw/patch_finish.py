"""The last step of a patch on a shard: additions' links put together, rows in place of numbers, every row in reach."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim_transforms.hnsw.connect import anchors_of, connect
from sim_transforms.hnsw.kernels import merge_nearest
from sim_transforms.hnsw.link import Forward
from sim_transforms.hnsw.patch import Published, ShardPatch
from sim_transforms.hnsw.patch_kernels import localise

Array = np.ndarray[Any, Any]

_FOREIGN = 2**30


def finish_shard(
    published: Published, patch: ShardPatch, found: Forward, final: Array, anchors: Array
) -> tuple[Array, Array]:
    """Puts an addition's links together, and every row of the shard in reach of its root.

    Args:
        published: the file.
        patch: of the shard.
        found: what its additions found in other shards, in any order; `rows` are their numbers.
        final: [a] int32, the row that each addition gets.
        anchors: [at most 3] numbers of other shards' roots (`anchors_of`).

    Returns:
        (rows [r + h] int32, links [r + h, 2 m] int32 rows), of the live rows, then of the additions.
    """
    items, lists = published.header.items, patch.links.copy()
    if len(patch.home):
        order = np.argsort(found.rows, kind="stable")
        pieces = (
            found.rows[order].astype(np.int32),
            *(np.ascontiguousarray(a[order]) for a in (found.candidates, found.distances)),
        )
        lists[len(patch.live) :] = merge_nearest(lists[len(patch.live) :], patch.gaps, *pieces, int(patch.home[0]))
    numbers = np.concatenate([patch.live, patch.home]).astype(np.int32)
    if len(numbers):
        _reach(published, lists, numbers, patch, anchors)
    for array in (lists, numbers):
        new = array >= items
        array[new] = final[array[new] - items]
    return numbers, lists


# Rows of a shard further apart than this are numbered in pieces, so that no table spans the rows of other shards.
_APART = 4096


def _reach(published: Published, lists: Array, numbers: Array, patch: ShardPatch, anchors: Array) -> None:
    """`connect` in the numbering of places: links to other shards are one number that is never walked."""
    firsts, ends = _segments(patch)
    offsets = np.concatenate([[0], np.cumsum(ends - firsts)]).astype(np.int64)
    compact = np.full(offsets[-1], _FOREIGN, np.int32)
    segment = np.searchsorted(firsts, numbers, side="right") - 1
    compact[offsets[segment] + numbers - firsts[segment]] = np.arange(len(numbers), dtype=np.int32)
    local = localise(lists, firsts, ends, offsets, compact, _FOREIGN)
    root = int(np.flatnonzero(numbers == patch.root)[0])
    codes = np.arange(_FOREIGN + 1, _FOREIGN + 1 + len(anchors), dtype=np.int32)
    for anchor, code in zip(anchors.tolist(), codes.tolist(), strict=True):
        local[root][lists[root] == anchor] = code
    before = local.copy()
    connect(local, published.vectors_of(numbers), root, codes, 0, published.header.is_inner_product)
    lines, places = np.nonzero(local != before)
    targets = np.concatenate([numbers, anchors]).astype(np.int32)
    changed = local[lines, places]
    lists[lines, places] = targets[np.where(changed > _FOREIGN, changed - _FOREIGN - 1 + len(numbers), changed)]


def _segments(patch: ShardPatch) -> tuple[Array, Array]:
    """(firsts, ends) of stretches of numbers that hold the live rows, then the additions."""
    firsts, ends = [], []
    for numbers in (patch.live, patch.home):
        if len(numbers):
            breaks = np.flatnonzero(np.diff(numbers) > _APART)
            firsts += [numbers[0], *numbers[breaks + 1]]
            ends += [*(numbers[breaks] + 1), numbers[-1] + 1]
    return np.array(firsts, np.int64), np.array(ends, np.int64)


def patch_anchors(shard: int, roots: Sequence[tuple[int, int]]) -> Array:
    """[at most 3] roots above and below a shard's in the binary tree of the shards that hold something.

    Args:
        shard: its number.
        roots: (shard, root) of all, in any order, the root -1 where a shard is empty.
    """
    held = sorted((number, root) for number, root in roots if root >= 0)
    numbers = [number for number, _ in held]
    if shard not in numbers:
        return np.zeros(0, np.int32)
    return anchors_of(numbers.index(shard), np.array([root for _, root in held], np.int64))
