"""Examples written by hand are what TensorFlow writes, byte for byte, and are read back."""

import json

import pytest
import tensorflow as tf

from sim_transforms.features.example_bytes import features_of
from sim_transforms.features.example_format import NAMES, ExampleRecord, decode_example, encode_example


def _by_tensorflow(record: ExampleRecord) -> bytes:
    metadata = json.dumps(dict(record.metadata), sort_keys=True, ensure_ascii=False)
    texts = (record.item_id, record.label, record.split, record.digest, None, metadata)
    values = [record.media if text is None else text.encode() for text in texts]
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in zip(NAMES, values, strict=True)
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 129, 16_383, 16_384, 100_000, 2_200_000])
def test_bytes_are_those_that_tensorflow_writes(size: int) -> None:
    media = bytes(place % 251 for place in range(size))
    metadata = (("a", 1), ("b", None), ("c", 'ü"\n'), ("d", 2.5), ("e", True))
    record = ExampleRecord("päckchen#2.5", "", "train", "0f" * 32, media, metadata)
    assert encode_example(record) == _by_tensorflow(record)
    assert decode_example(encode_example(record)) == record
    found = features_of(encode_example(record))
    assert found.keys() == set(NAMES)
    assert (found["media"], found["label"], found["item_id"].decode()) == (media, b"", record.item_id)
