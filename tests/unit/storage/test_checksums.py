"""Checksums and TFRecord frames against the libraries that define them."""

import base64
import contextlib
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_transforms.errors import DamagedArtefact
from sim_transforms.storage.checksums import combine_crc32c, file_entry, index_file
from sim_transforms.storage.tfrecord import frame, read_records, split_records


def _crc(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_combine_crc32c_equals_the_checksum_of_both(first: bytes, second: bytes) -> None:
    assert combine_crc32c(_crc(first), _crc(second), len(second)) == _crc(first + second)


def test_index_file_checksum_of_parts_equals_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(256)) * 9)
    described = index_file(tmp_path / "f", [68, 1000, 2304 - 1068])
    assert described.crc32c == file_entry(tmp_path, "f").crc32c
    assert [(p.offset, p.size_bytes) for p in described.parts] == [(0, 68), (68, 1000), (1068, 1236)]


@pytest.mark.parametrize("sizes", [[3, 5], [2]])
def test_index_file_parts_that_do_not_cover_the_file_are_refused(sizes: list[int], tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(DamagedArtefact):
        index_file(tmp_path / "f", sizes)


def test_read_records_gives_back_what_was_framed(tmp_path: Path) -> None:
    payloads = [b"", b"a", b"x" * 5000]
    (tmp_path / "r").write_bytes(b"".join(frame(p) for p in payloads))
    assert list(read_records(tmp_path / "r")) == payloads


def test_read_records_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    whole = frame(b"first record") + frame(b"second")
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x10
        (tmp_path / "r").write_bytes(bytes(data))
        with pytest.raises(DamagedArtefact, match="byte"):
            list(read_records(tmp_path / "r"))


def test_split_records_gives_back_what_was_framed_and_refuses_the_rest() -> None:
    payloads = [b"", b"a" * 300, b"b"]
    data = b"".join(frame(payload) for payload in payloads)
    assert list(split_records(data, "r", 0)) == payloads
    assert list(split_records(b"", "r", 0)) == []
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(DamagedArtefact, match=r"^r: .* at byte \d+"):
            list(split_records(flipped, "r", 7))
    for length in range(1, len(data)):
        with contextlib.suppress(DamagedArtefact):
            found = list(split_records(data[:length], "r", 0))
            assert found == payloads[: len(found)]
            assert sum(len(frame(payload)) for payload in found) == length
