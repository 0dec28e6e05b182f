"""items.parquet after a change: rows of clips go, come and are relabelled together, the others stay as they were."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.diff_catalog import Difference, Place
from sim_transforms.publish_patch import CatalogChange, items_schema, write_patched_items
from sim_transforms.records.batches import embeddings_schema
from sim_transforms.records.items import MediaRef

COLUMNS = {"place": "int64", "source_id": "string", "start": "double"}


def _item(row: int, sound: str, start: float, label: str, place: int) -> dict[str, object]:
    clip = {"item_id": f"{sound}#{start:g}", "source_id": sound, "start": start}
    return {"row": row, **clip, "label": label, "place": place, "digest": sound * 2}


def test_patched_items_of_clips_hold_whole_sounds(tmp_path: Path) -> None:
    schema = items_schema(COLUMNS)
    old = [
        _item(0, "a", 0.0, "x", 1), _item(1, "b", 0.0, "x", 2), _item(2, "a", 1.0, "x", 1), _item(3, "c", 0.0, "y", 3),
        _item(5, "b", 1.0, "x", 2),
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(old, schema), tmp_path / "old.parquet", row_group_size=2)
    relabelled = Difference(
        "metadata", "b", (Place(1, "b#0", 0.0), Place(5, "b#1", 1.0)), "bb",
        MediaRef("b", "b.wav", "z", "train", 2, (("place", 9),)),
    )  # fmt: skip
    made = [{**_item(0, "n", start, "x", 4), "split": "train", "embedding": [0.0, 1.0]} for start in (0.0, 0.5)]
    fresh = pa.Table.from_pylist(made, embeddings_schema(2, COLUMNS))
    change = CatalogChange(np.array([0, 2], np.int32), (relabelled,), fresh, COLUMNS, "digest")
    write_patched_items(tmp_path / "old.parquet", tmp_path / "new.parquet", change, np.array([2, 6], np.int32))
    expected = [
        _item(1, "b", 0.0, "z", 9), _item(2, "n", 0.0, "x", 4), _item(3, "c", 0.0, "y", 3), _item(5, "b", 1.0, "z", 9),
        _item(6, "n", 0.5, "x", 4),
    ]  # fmt: skip
    found = pq.read_table(tmp_path / "new.parquet")
    assert found.schema.equals(schema)
    assert found.to_pylist() == pa.Table.from_pylist(expected, schema).to_pylist()
