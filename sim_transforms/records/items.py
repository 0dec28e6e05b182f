"""What travels through the pipelines one item at a time, before media are decoded, and what drops out."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Scalar = str | int | float | bool | None
Split = Literal["train", "test"]

MAX_ID_BYTES = 1024  # of an item_id, in UTF-8


@dataclass(frozen=True, order=True)
class MediaRef:
    """A row of the catalog.

    Attributes:
        item_id: unique text.
        uri: absolute path or URL of the media file.
        label: class, or "" where the catalog has none.
        split: "train" or "test" (the catalog's column, else `split_of`).
        row: position in the catalog, counted from 1 without the header, for messages.
        metadata: further columns as (name, value) pairs, sorted by name.
    """

    item_id: str
    uri: str
    label: str
    split: str
    row: int
    metadata: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True, order=True)
class FailedItem:
    """An item that was rejected, why, and where; a row of rejects.parquet.

    Attributes:
        reason: stable code in snake_case.
        message: one sentence for a person.
    """

    item_id: str
    uri: str
    stage: str
    reason: str
    message: str


REJECTS_SCHEMA = pa.schema([(name, pa.string()) for name in ("item_id", "uri", "stage", "reason", "message")])

MEDIA_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),  # of the catalog
        ("digest", pa.string()),  # SHA-256 of the file
        ("parts", pa.int32()),  # items made of it
        ("size_bytes", pa.int64()),
        ("width", pa.int32()),  # pixels, 0 of sounds
        ("height", pa.int32()),
        ("seconds", pa.float64()),  # 0 of pictures
        ("sample_rate", pa.int32()),
        ("channels", pa.int32()),
    ]
)

OFFSETS_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),  # byte at which the TFRecord (its length field) starts
        ("length", pa.int64()),  # bytes of the whole record, framing included
    ]
)


def split_of(item_id: str, seed: int) -> Split:
    """The fixed split of the design page: 70 % train by SHA-256 of `seed:item_id`."""
    digest = hashlib.sha256(f"{seed}:{item_id}".encode()).hexdigest()
    return "train" if int(digest[:8], 16) % 100 < 70 else "test"


def shard_of(item_id: str, shards: int) -> int:
    """Example shard of an item: a hash of its id, the same on every runner."""
    digest = hashlib.sha256(b"shard:" + item_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % shards
