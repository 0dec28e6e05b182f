"""Batches that wait for others are cut by group: nothing is lost, whatever a bundle holds."""

import pickle
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from sim_transforms.assign_shards import AssignGroups
from sim_transforms.hnsw.partition import Partition
from sim_transforms.records.batches import Array, column_of

_ITEMS, _GROUPS = 240, 12


class _ByNumber:
    """Stands in for a partition: an item's group is its number's last digits."""

    def groups_of(self, places: Array, item_ids: list[str]) -> Array:
        assert len(places) == len(item_ids)
        return np.array([int(item_id) % _GROUPS for item_id in item_ids], np.int32)


def _batches(rows: int) -> list[pa.RecordBatch]:
    vectors = np.arange(_ITEMS * 3, dtype=np.float32).reshape(_ITEMS, 3) + 1
    table = pa.table({"item_id": [str(n) for n in range(_ITEMS)], "embedding": column_of(vectors)})
    return list(table.to_batches(rows))


def _cut(batches: list[pa.RecordBatch], most_bytes: int) -> list[tuple[int, pa.RecordBatch]]:
    function, partition = AssignGroups("l2", most_bytes), cast(Partition, _ByNumber())
    function.start_bundle()
    found: list[Any] = [element for batch in batches for element in function.process(batch, partition)]
    return found + [window.value for window in function.finish_bundle()]


@pytest.mark.parametrize(
    ("rows", "most_bytes"), [(1, 1), (7, 1), (7, 1_000), (50, 10**9), (_ITEMS, 1), (_ITEMS, 10**9)]
)
def test_every_item_arrives_once_in_its_group_with_its_vector(rows: int, most_bytes: int) -> None:
    found = _cut(_batches(rows), most_bytes)
    arrived = {}
    for group, batch in found:
        for row in batch.to_pylist():
            assert int(row["item_id"]) % _GROUPS == group
            assert row["item_id"] not in arrived
            arrived[row["item_id"]] = row["embedding"]
    assert arrived == {str(n): [3.0 * n + 1, 3.0 * n + 2, 3.0 * n + 3] for n in range(_ITEMS)}


def test_batches_that_wait_travel_as_one_a_group() -> None:
    assert len(_cut(_batches(10), 10**9)) == _GROUPS
    assert len(_cut(_batches(10), 1)) == _ITEMS


def test_what_travels_holds_its_own_rows_alone() -> None:
    (whole,) = _batches(_ITEMS)
    sizes = [len(pickle.dumps(batch, protocol=5)) for _, batch in _cut([whole], 1)]
    assert sum(sizes) < 3 * len(pickle.dumps(whole, protocol=5))


def test_an_empty_bundle_gives_nothing() -> None:
    assert _cut([], 1) == []
