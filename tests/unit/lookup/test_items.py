"""Items read by row group are the items of the whole table, with few groups in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.errors import DamagedArtefact
from sim_transforms.lookup.items import HeldItems, Items, PagedItems

COUNT = 100
ROWS = np.setdiff1d(np.arange(COUNT + 3), [0, 40, 41])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("items") / "items.parquet"
    ids = [f"item-{r * 7 % 103:03d}" for r in ROWS]
    table = pa.table({"row": pa.array(ROWS, pa.int32()), "item_id": ids, "price": [r / 2 for r in ROWS.tolist()]})
    pq.write_table(table, path, row_group_size=9)
    return path


def test_paged_items_are_the_held_ones(path: Path) -> None:
    held, paged = HeldItems(path), PagedItems(path, held=2)
    assert held.count == paged.count == COUNT
    for seed in range(20):
        generator = np.random.default_rng(seed)
        rows = np.sort(generator.choice(ROWS, generator.integers(0, 30), replace=False))
        expected = [{"row": r, "item_id": f"item-{r * 7 % 103:03d}", "price": r / 2} for r in rows.tolist()]
        assert held.records(rows) == paged.records(rows) == expected


def test_paged_items_hold_a_few_groups(path: Path) -> None:
    paged = PagedItems(path, held=3)
    for row in (1, 20, 50, 99, 20):
        paged.records(np.array([row]))
        assert len(paged.held_groups) <= 3
    assert paged.held_groups[-1] == 2


@pytest.mark.parametrize("kind", [HeldItems, PagedItems])
def test_row_of_finds_each_item_and_no_other(kind: type[HeldItems | PagedItems], path: Path) -> None:
    items: Items = kind(path)
    assert [items.row_of(f"item-{r * 7 % 103:03d}") for r in ROWS] == ROWS.tolist()
    assert items.row_of("item-000") is None
    assert items.row_of("nobody") is None


@pytest.mark.parametrize("kind", [HeldItems, PagedItems])
@pytest.mark.parametrize("row", [0, 40, 103, 10_000])
def test_records_of_a_row_that_is_not_there_is_damage(kind: type[HeldItems | PagedItems], row: int, path: Path) -> None:
    rows = np.unique([1, row])
    with pytest.raises(DamagedArtefact, match=f"does not hold row {row}"):
        kind(path).records(rows)


@pytest.mark.parametrize("kind", [HeldItems, PagedItems])
def test_items_of_an_empty_version_hold_nothing(kind: type[HeldItems | PagedItems], tmp_path: Path) -> None:
    pq.write_table(pa.table({"row": pa.array([], pa.int32()), "item_id": pa.array([], pa.string())}), tmp_path / "i")
    items = kind(tmp_path / "i")
    assert items.count == 0
    assert items.records(np.zeros(0, np.int32)) == []
    assert items.row_of("a") is None
    with pytest.raises(DamagedArtefact):
        items.records(np.array([0]))


def test_paged_items_without_statistics_are_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"row": pa.array([1], pa.int32()), "item_id": ["a"]}), tmp_path / "i", write_statistics=False
    )
    with pytest.raises(DamagedArtefact, match="does not say which rows"):
        PagedItems(tmp_path / "i")


@pytest.mark.parametrize("kind", [HeldItems, PagedItems])
@pytest.mark.parametrize("count", [0, 1, 30, 90])
def test_shown_are_ids_and_metadata_in_the_order_of_the_rows(
    kind: type[HeldItems | PagedItems], count: int, path: Path
) -> None:
    rows = np.random.default_rng(count).permutation(ROWS)[:count]
    ids, metadata = kind(path).shown(rows)
    assert ids == [f"item-{r * 7 % 103:03d}" for r in rows.tolist()]
    assert metadata == [{"price": r / 2} for r in rows.tolist()]


@pytest.mark.parametrize("kind", [HeldItems, PagedItems])
@pytest.mark.parametrize("row", [-1, 0, 41, 103])
def test_shown_of_a_row_that_is_not_there_is_damage(kind: type[HeldItems | PagedItems], row: int, path: Path) -> None:
    with pytest.raises(DamagedArtefact, match=f"does not hold row {row}"):
        kind(path).shown(np.array([1, row, 5]))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("few", [3, 80])
def test_shown_of_any_texts_and_nulls_are_as_they_stand(tmp_path: Path, kind: pa.DataType, few: int) -> None:
    ids = [f"{'ü' * (n % 4)}\u0000{n}" for n in range(100)]
    colours = [None if n % 3 else "😀" for n in range(100)]
    table = pa.table(
        {
            "row": pa.array(range(100), pa.int32()),
            "item_id": pa.array(ids).cast(kind),
            "digest": ["d"] * 100,
            "colour": pa.array(colours).cast(kind),
        }
    )
    pq.write_table(table, tmp_path / "items.parquet", row_group_size=7)
    rows = np.random.default_rng(0).permutation(100)[:few]
    expected = [ids[row] for row in rows.tolist()], [{"colour": colours[row]} for row in rows.tolist()]
    assert HeldItems(tmp_path / "items.parquet").shown(rows) == expected
