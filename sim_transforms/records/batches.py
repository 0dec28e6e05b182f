"""Elements on the hot paths: many items at once, small enough for any runner (at most some MiB)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sim_transforms.records.items import Scalar

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ExampleBatch:
    """Consecutive records of one example shard, as the embed job reads them.

    Attributes:
        shard, batch: position of the batch; together unique.
        media: row-major bytes of each item; dropped (empty) after inference.
    """

    shard: int
    batch: int
    item_ids: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    digests: tuple[str, ...]
    metadata: tuple[tuple[tuple[str, Scalar], ...], ...]
    media: tuple[bytes, ...]


@dataclass(frozen=True)
class EmbeddedBatch:
    """An ExampleBatch without its media, and `vectors` [b, dim] float32, rows as in the batch."""

    batch: ExampleBatch
    vectors: Array


class ShardKey(NamedTuple):
    """A shard of the index: k-means cell, and part of the cell where it was split. Sorts in row order."""

    cell: int
    part: int


@dataclass(frozen=True)
class ShardFile:
    """A shard's items, vectors and levels, written once as an Arrow file.

    Attributes:
        path: Arrow IPC file of item_id, the metadata columns and `embedding`, `_level`, near items beside each other.
        root: row within it of its highest level, where walks through the shard start.
        centroid: mean of its vectors (of their directions in `inner_product`), little-endian float32 as bytes, so that
            the element can be compared.
        longest: length of its longest vector.
    """

    key: ShardKey
    path: str
    items: int
    root: int
    centroid: bytes
    longest: float = 0.0


@dataclass(frozen=True)
class ShardPlan:
    """A shard with its number and rows in the merged file: [first_row, first_row + items)."""

    number: int
    first_row: int
    file: ShardFile


@dataclass(frozen=True)
class QueryBlock:
    """Items of one shard, sent to a neighbour shard: `rows` [q] int32 global, `vectors` [q, d] float32."""

    rows: Array
    vectors: Array


def embeddings_schema(dimension: int, metadata_columns: dict[str, str]) -> pa.Schema:
    """Schema of the Parquet files in `embeddings/`; metadata types by their Arrow names."""
    own = [(name, pa.string()) for name in ("item_id", "label", "split", "digest")]
    extra = [(name, arrow_type(kind)) for name, kind in sorted(metadata_columns.items())]
    return pa.schema([*own, ("embedding", pa.list_(pa.float32(), dimension)), *extra])


def arrow_type(name: str) -> pa.DataType:
    """Arrow type of a metadata column by its name in a manifest ("string", "int64", "double", "bool")."""
    kinds = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}
    return kinds[name]


def vectors_of(column: pa.ChunkedArray | pa.Array) -> Array:
    """fixed_size_list<float32>[d] of n rows -> [n, d] float32, C-contiguous."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    dimension = flat.type.list_size
    values = flat.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.reshape(-1, dimension), dtype=np.float32)


def column_of(vectors: Array) -> pa.FixedSizeListArray:
    """[n, d] float32 -> fixed_size_list<float32>[d]."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def metadata_names(schema: pa.Schema) -> list[str]:
    """Names of the columns of a version's items that are shown with an item."""
    return [name for name in schema.names if name not in ("row", "item_id", "digest")]
