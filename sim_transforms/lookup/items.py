"""The rows of items.parquet: all of them held in memory, or read by row group where memory is bounded."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.errors import DamagedArtefact
from sim_transforms.lookup.where import Where
from sim_transforms.records.batches import metadata_names

Array = np.ndarray[Any, Any]

# Decoded row groups that are kept; they are published with at most 8,192 rows each.
HELD_GROUPS = 8
# So few rows are read value by value, which is faster than Arrow's kernels.
_SINGLY = 64
# Offsets of texts: the kind of a number in a memoryview.
_OFFSETS: dict[pa.DataType, Literal["i", "q"]] = {pa.string(): "i", pa.large_string(): "q"}

# Ids of items, and the metadata of each.
Shown: TypeAlias = tuple[list[str], list[dict[str, Any]]]


class Items(Protocol):
    """Row, item_id and metadata of the live items, in row order.

    Attributes:
        count: number of items.
        schema: of the table.
    """

    count: int
    schema: pa.Schema

    def records(self, rows: Array) -> list[dict[str, Any]]:
        """Item_id and metadata of [n] rows, ascending and all different, as they stand in the file.

        Raises:
            DamagedArtefact: the file does not hold one of them.
        """
        ...

    def shown(self, rows: Array) -> Shown:
        """Ids and metadata of [n] rows, in any order and all different.

        Raises:
            DamagedArtefact: the file does not hold one of them.
        """
        ...

    def row_of(self, item_id: str) -> int | None:
        """The row of an item, or null."""
        ...

    def rows_where(self, column: str, value: str) -> Array:
        """[n] int32: rows of the items whose metadata `column`, of text, is `value`, ascending."""
        ...

    def rows_that(self, where: Where) -> Array:
        """[n] int32: rows of the items that meet a condition, ascending."""
        ...

    def rows(self) -> Array:
        """[count] int32: rows of all items, ascending."""
        ...


class HeldItems:
    """Items whose whole table is in memory; finds a row in constant time."""

    def __init__(self, path: Path) -> None:
        """Reads the file."""
        self._path = path
        with pq.ParquetFile(path) as file:
            # Not by `read_table`, which imports pandas.
            self.table = _in_one_piece(file.read())
        self.count, self.schema = self.table.num_rows, self.table.schema

    def records(self, rows: Array) -> list[dict[str, Any]]:
        """See `Items`."""
        return self.table.take(pa.array(self._found(rows))).to_pylist()

    def shown(self, rows: Array) -> Shown:
        """See `Items`; in plain Python, because each call of numpy costs a single query as much as ten of its steps."""
        places: list[int] = rows.tolist()
        if places and (not self._is_dense or min(places) < 0 or max(places) >= self.count):
            places = self._found(rows).tolist()
        ids = self._ids.at(places)
        if not self._metadata:
            return ids, [{} for _ in ids]
        names, columns = self._metadata
        values = zip(*(column.at(places) for column in columns), strict=True)
        return ids, [dict(zip(names, value, strict=True)) for value in values]

    def _found(self, rows: Array) -> Array:
        """[n] places of rows; raises DamagedArtefact."""
        if not len(rows):
            return np.zeros(0, np.int64)
        if self._is_dense and rows.astype(np.uint32).max() < self.count:
            return rows
        try:
            # Without a sign, a row below 0 is beyond the last one.
            places = self._places[rows.astype(np.uint32)]
        except IndexError:
            raise _missing(self._path, int(rows[(rows < 0) | (rows >= len(self._places))][0])) from None
        if places.min() < 0:
            raise _missing(self._path, int(rows[np.flatnonzero(places < 0)[0]]))
        return places

    @cached_property
    def _ids(self) -> "_Texts | _Values":
        return _column(self.table.column("item_id"))

    @cached_property
    def _metadata(self) -> "tuple[list[str], list[_Texts | _Values]] | None":
        names = metadata_names(self.schema)
        return (names, [_column(self.table.column(name)) for name in names]) if names else None

    def row_of(self, item_id: str) -> int | None:
        """See `Items`."""
        return _row_of(self.table, item_id)

    def rows_where(self, column: str, value: str) -> Array:
        """See `Items`."""
        return _rows_where(self.table, column, value)

    def rows_that(self, where: Where) -> Array:
        """See `Items`."""
        return _rows_that(self.table.select(sorted({"row", *where.columns})), where)

    def rows(self) -> Array:
        """See `Items`."""
        found: Array = self.table.column("row").to_numpy()
        return found

    @cached_property
    def _is_dense(self) -> bool:
        """Whether rows and places are the same, as long as no item was ever taken out."""
        rows = self.table.column("row").to_numpy()
        return bool(len(rows)) and bool((rows == np.arange(len(rows))).all())

    @cached_property
    def _places(self) -> Array:
        """[rows] int64: place in the table of each row, -1 for free rows."""
        rows = self.table.column("row").to_numpy()
        places = np.full(int(rows.max(initial=-1)) + 1, -1, np.int64)
        places[rows] = np.arange(len(rows))
        return places


class _Texts:
    """A column of text whose values are read out of Arrow's buffers, four times as fast as by Arrow's scalars.

    Args:
        array: of type string or large_string, without nulls.
    """

    def __init__(self, array: Any) -> None:
        _, offsets, data = array.buffers()
        ends = memoryview(offsets).cast(_OFFSETS[array.type])
        self._ends, self._data = ends[array.offset : array.offset + len(array) + 1], memoryview(data or b"")

    def at(self, places: list[int]) -> list[str]:
        """Values at n places."""
        ends, data = self._ends, self._data
        return [str(data[ends[place] : ends[place + 1]], "utf-8") for place in places]


class _Values:
    """A column of any kind: a few values one by one, which is faster than Arrow's kernels."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def at(self, places: list[int]) -> list[Any]:
        """Values at n places."""
        if len(places) > _SINGLY:
            values: list[Any] = self._column.take(pa.array(places)).to_pylist()
            return values
        return [self._column[place].as_py() for place in places]


def _column(column: pa.ChunkedArray) -> _Texts | _Values:
    """How the values of a column are read; as one array where it fits into one."""
    if column.num_chunks != 1:
        return _Values(column)
    is_plain = column.type in _OFFSETS and not column.null_count
    return _Texts(column.chunk(0)) if is_plain else _Values(column.chunk(0))


class PagedItems:
    """Items of which `held` row groups at most are in memory; a row costs the decoding of its group.

    `row_of` and `rows_where` read their column of one group after the other, but for those whose smallest and largest
    value do not enclose the one that is sought: their time grows with the catalog, their memory does not.
    """

    def __init__(self, path: Path, held: int = HELD_GROUPS) -> None:
        """Reads the footer; raises DamagedArtefact where it does not say which rows a group holds."""
        self._path, self._held = path, held
        self._file = pq.ParquetFile(path)
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()
        self._rows: Array | None = None
        self.count, self.schema = self._file.metadata.num_rows, self._file.schema_arrow
        self._firsts = np.array([low for low, _ in self._bounds("row")], np.int64)

    @property
    def held_groups(self) -> list[int]:
        """Numbers of the row groups in memory, least recently used first."""
        return list(self._groups)

    def records(self, rows: Array) -> list[dict[str, Any]]:
        """See `Items`."""
        groups = np.searchsorted(self._firsts, rows, side="right") - 1
        if len(groups) and groups[0] < 0:
            raise _missing(self._path, int(rows[0]))
        with self._lock:
            return [r for group in np.unique(groups) for r in self._of_group(int(group), rows[groups == group])]

    def shown(self, rows: Array) -> Shown:
        """See `Items`."""
        order = np.argsort(rows)
        names, told = metadata_names(self.schema), {int(r["row"]): r for r in self.records(rows[order])}
        found = [told[row] for row in rows.tolist()]
        return [r["item_id"] for r in found], [{name: r[name] for name in names} for r in found]

    def row_of(self, item_id: str) -> int | None:
        """See `Items`."""
        with self._lock:
            for group, (low, high) in enumerate(self._bounds("item_id")):
                if low is None or low <= item_id <= high:
                    row = _row_of(self._file.read_row_group(group, columns=["row", "item_id"]), item_id)
                    if row is not None:
                        return row
        return None

    def rows_where(self, column: str, value: str) -> Array:
        """See `Items`."""
        found = [np.zeros(0, np.int32)]
        with self._lock:
            for group, (low, high) in enumerate(self._bounds(column)):
                if low is None or low <= value <= high:
                    table = self._file.read_row_group(group, columns=["row", column])
                    found.append(_rows_where(table, column, value))
        return np.concatenate(found)

    def rows_that(self, where: Where) -> Array:
        """See `Items`."""
        found = [np.zeros(0, np.int32)]
        with self._lock:
            for group in range(self._file.metadata.num_row_groups):
                table = self._file.read_row_group(group, columns=sorted({"row", *where.columns}))
                found.append(_rows_that(table, where))
        return np.concatenate(found)

    def rows(self) -> Array:
        """See `Items`; read once, 4 bytes an item."""
        with self._lock:
            if self._rows is None:
                self._rows = self._file.read(columns=["row"]).column("row").to_numpy()
            return self._rows

    def _of_group(self, group: int, rows: Array) -> list[dict[str, Any]]:
        table = self._table(group)
        there = table.column("row").to_numpy()
        places = np.minimum(np.searchsorted(there, rows), len(there) - 1)
        if (there[places] != rows).any():
            raise _missing(self._path, int(rows[np.flatnonzero(there[places] != rows)[0]]))
        return table.take(pa.array(places)).to_pylist()

    def _table(self, group: int) -> pa.Table:
        if group not in self._groups:
            while len(self._groups) >= self._held:
                self._groups.popitem(last=False)
            self._groups[group] = self._file.read_row_group(group)
        self._groups.move_to_end(group)
        return self._groups[group]

    def _bounds(self, column: str) -> Iterator[tuple[Any, Any]]:
        """Smallest and largest value of each row group; nulls where the file does not say."""
        metadata = self._file.metadata
        place = self._file.schema_arrow.get_field_index(column)
        for group in range(metadata.num_row_groups if self.count else 0):
            statistics = metadata.row_group(group).column(place).statistics
            known = statistics is not None and statistics.has_min_max
            if column == "row" and not known:
                raise DamagedArtefact(f"{self._path}: row group {group} does not say which rows it holds")
            yield (statistics.min, statistics.max) if known else (None, None)


def _in_one_piece(table: pa.Table) -> pa.Table:
    """The table with one chunk a column, or each row that is taken costs a copy of a column; a column at a time."""
    schema, columns = table.schema, table.columns
    del table
    for place, column in enumerate(columns):
        # Of more than 2 GiB of text several remain, where offsets have 32 bits.
        columns[place] = pa.table([column], names=["column"]).combine_chunks().column(0)
    return pa.table(columns, schema=schema)


def _row_of(table: pa.Table, item_id: str) -> int | None:
    place = pc.index(table.column("item_id"), pa.scalar(item_id)).as_py()
    return None if place < 0 else int(table.column("row")[place].as_py())


def _rows_where(table: pa.Table, column: str, value: str) -> Array:
    found: Array = table.column("row").filter(pc.equal(table.column(column), value)).to_numpy()
    return found


def _rows_that(table: pa.Table, where: Where) -> Array:
    found: Array = table.filter(where.expression).column("row").to_numpy()
    return found


def _missing(path: Path, row: int) -> DamagedArtefact:
    return DamagedArtefact(f"{path} does not hold row {row}, with which the index answers")
