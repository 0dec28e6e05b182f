"""Reads records of `examples/` without TensorFlow, whose import takes seconds and half a GB of memory.

Only what `example_format` writes: a `tf.train.Example` all of whose features are one byte string.

| message | field 1 | field 2 |
|---|---|---|
| Example | Features | |
| Features | an entry of its map, many times | |
| entry | name | Feature |
| Feature | BytesList | |
| BytesList | value | |

Source: tensorflow/core/example/example.proto, feature.proto; every field is of wire type 2: tag, length, bytes.
"""

from collections.abc import Iterator


def features_of(record: bytes) -> dict[str, bytes]:
    """Name -> bytes of each feature of a record whose checksum has been compared."""
    entries = (dict(_fields(entry)) for _, features in _fields(memoryview(record)) for _, entry in _fields(features))
    return {bytes(entry[1]).decode(): bytes(_first(_first(entry[2]))) for entry in entries}


def _first(message: memoryview) -> memoryview:
    """Its first field; an empty one is left out by those who write."""
    return next((value for _, value in _fields(message)), memoryview(b""))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        length, place = _varint(message, place)
        yield tag >> 3, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while message[place] & 128:
        value |= (message[place] & 127) << shift
        shift, place = shift + 7, place + 1
    return value | message[place] << shift, place + 1
