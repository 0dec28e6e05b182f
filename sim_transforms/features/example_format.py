"""tf.train.Example as `examples/` holds it: decoded media, kept compact, and what belongs to the item.

| feature | type | holds |
|---|---|---|
| item_id | bytes, UTF-8 | the item |
| label | bytes, UTF-8 | class, or empty |
| split | bytes | `train` or `test` |
| digest | bytes | hex SHA-256 of the media file |
| media | bytes | decoded media, row-major, dtype and shape of the manifest's `media` |
| metadata | bytes | JSON object of further catalog columns |
"""

import json
from dataclasses import dataclass

import tensorflow as tf

from sim_transforms.records.items import Scalar

NAMES = ("item_id", "label", "split", "digest", "media", "metadata")

FEATURE_SPEC: dict[str, tf.io.FixedLenFeature] = {name: tf.io.FixedLenFeature([], tf.string) for name in NAMES}


@dataclass(frozen=True)
class ExampleRecord:
    """One decoded item.

    Attributes:
        digest: hex SHA-256 of the media file.
        media: row-major bytes of the decoded array.
        metadata: sorted (name, value) pairs.
    """

    item_id: str
    label: str
    split: str
    digest: str
    media: bytes
    metadata: tuple[tuple[str, Scalar], ...] = ()


def encode_example(record: ExampleRecord) -> bytes:
    """Serialises deterministically: the same record gives the same bytes."""
    metadata = json.dumps(dict(record.metadata), sort_keys=True, ensure_ascii=False, allow_nan=False)
    texts = (record.item_id, record.label, record.split, record.digest, None, metadata)
    values = {name: record.media if text is None else text.encode() for name, text in zip(NAMES, texts, strict=True)}
    features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def decode_example(serialized: bytes) -> ExampleRecord:
    """Inverse of `encode_example`."""
    feature = tf.train.Example.FromString(serialized).features.feature
    value = {name: feature[name].bytes_list.value[0] for name in NAMES}
    return ExampleRecord(
        item_id=value["item_id"].decode(),
        label=value["label"].decode(),
        split=value["split"].decode(),
        digest=value["digest"].decode(),
        media=value["media"],
        metadata=tuple(sorted(json.loads(value["metadata"]).items())),
    )
