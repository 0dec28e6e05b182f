"""WAV files whose headers were never finished: a recorder that streams or stops leaves lengths of 0 or of all ones."""

import struct

_HEAD, _CHUNK = 12, 8


def mended(data: bytes) -> bytes:
    """The file with a right length of its samples, where the one in its header cannot be: all else is left alone.

    The samples end where a further chunk begins or the file does. A length that leads to neither is wrong, and stands
    for all that follows.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return data
    place = _HEAD
    while place + _CHUNK <= len(data):
        name, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
        end = place + _CHUNK + size
        if name != b"data":
            place = end + size % 2
            continue
        rest = len(data) - place - _CHUNK
        if (size and end == len(data)) or _is_chunk(data, end + size % 2):
            return data
        whole = bytearray(data)
        struct.pack_into("<I", whole, place + 4, rest)
        struct.pack_into("<I", whole, 4, min(len(data) - 8, 0xFFFFFFFF))
        return bytes(whole)
    return data


def _is_chunk(data: bytes, place: int) -> bool:
    """Whether a chunk begins there that ends within the file, or the file ends with a filling byte."""
    if place == len(data) or place == len(data) + 1:
        return True
    if place + _CHUNK > len(data):
        return False
    name, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
    return all(32 <= byte < 127 for byte in name) and place + _CHUNK + size <= len(data)
