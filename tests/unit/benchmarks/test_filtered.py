"""The columns of the benchmark keep the shares that their conditions name, and one end of space is one end."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.filtered import measure, write_items
from sim_transforms.lookup.open import open_version
from tests.unit.storage.published import published_store, some_vectors


def test_columns_keep_shares_and_sides(tmp_path: Path) -> None:
    vectors = some_vectors(items=1_000)
    direction = np.eye(8, dtype=np.float32)[2]
    columns = write_items(vectors, direction, tmp_path / "items.parquet", 0)
    assert (columns["side"] < 0.2).sum() == 200
    assert abs((columns["even"] < 0.2).sum() - 200) < 50
    assert vectors[columns["side"] < 0.2, 2].max() <= vectors[columns["side"] >= 0.2, 2].min()
    assert pq.read_table(tmp_path / "items.parquet").column("side").to_pylist() == columns["side"].tolist()


def test_point_tells_recall_and_who_was_compared(tmp_path: Path) -> None:
    vectors = some_vectors()
    opened = open_version(published_store(tmp_path, vectors)[0].url)
    renamed = _Numbers(opened)
    keep = np.arange(60) < 20
    point = measure(renamed, vectors[:5], vectors, keep, "colour = 'red'")  # type: ignore[arg-type]
    assert (point.items, point.compared) == (20, 0)
    assert point.recall < 1
    assert measure(renamed, vectors[:5], vectors, None, "").recall == 1  # type: ignore[arg-type]


class _Numbers:
    """A version whose ids are numbers, as the benchmark's are."""

    _compare_all = None

    def __init__(self, opened: object) -> None:
        self._opened = opened

    def search(self, vectors: np.ndarray, k: int, where: str | None = None) -> list[list[object]]:
        found = self._opened.search(vectors, k)  # type: ignore[attr-defined]
        return [[type(m)(m.item_id.removeprefix("item-"), m.distance, m.metadata) for m in of] for of in found]
