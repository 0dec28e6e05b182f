"""Checksums and TFRecord frames against the libraries that define them."""

import base64
import contextlib
import random
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_transforms.errors import DamagedArtefact
from sim_transforms.storage.checksums import combine_crc32c, file_entry, index_file
from sim_transforms.storage.scattered import read_payloads
from sim_transforms.storage.tfrecord import frame, pack, read_record, read_records, split_records


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


def test_packed_records_are_read_alone_together_and_by_tensorflow(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    rng = random.Random(0)
    payloads = [b"", b"a" * 300_000, *(rng.randbytes(rng.randrange(3000)) for _ in range(200))]
    members = [pack(frame(payload)) for payload in payloads]
    path = tmp_path / "r.tfrecord.gz"
    path.write_bytes(b"".join(members))
    assert list(read_records(path)) == payloads
    assert list(split_records(path.read_bytes(), str(path), 0)) == payloads
    offset = 0
    with path.open("rb") as file:
        for payload, member in zip(payloads, members, strict=True):
            assert read_record(file.fileno(), offset, len(member), str(path)) == payload
            offset += len(member)
        with pytest.raises(DamagedArtefact, match="2 records stand at byte 0"):
            read_record(file.fileno(), 0, len(members[0]) + len(members[1]), str(path))
    known = tf.data.TFRecordDataset(str(path), compression_type="GZIP")
    assert [record.numpy() for record in known] == payloads


def test_damaged_packed_records_are_refused(tmp_path: Path) -> None:
    data = b"".join(pack(frame(payload)) for payload in (b"one", b"two" * 50))
    path = tmp_path / "r.tfrecord.gz"
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        with contextlib.suppress(DamagedArtefact):
            # What gzip does not check (time, system) changes nothing.
            assert list(read_records(path)) == [b"one", b"two" * 50], place
    path.write_bytes(data[:-3])
    with pytest.raises(DamagedArtefact, match="cut short"):
        list(read_records(path))


@pytest.mark.parametrize("name", ["r.tfrecord", "r.tfrecord.gz"])
def test_read_payloads_are_the_records_in_the_order_that_was_asked(tmp_path: Path, name: str) -> None:
    payloads = [random.Random(n).randbytes(n * 37) for n in range(20)]
    stored = [pack(frame(p)) if name.endswith("gz") else frame(p) for p in payloads]
    path = tmp_path / name
    path.write_bytes(b"".join(stored))
    offsets = [sum(map(len, stored[:n])) for n in range(20)]
    asked = [7, 0, 19, 7, 3]
    with path.open("rb") as file:
        where = ([file.fileno()] * 5, [offsets[n] for n in asked], [len(stored[n]) for n in asked], [str(path)] * 5)
        assert read_payloads(*where) == [payloads[n] for n in asked]
        assert read_payloads([], [], [], []) == []


def test_read_payloads_with_a_flipped_byte_anywhere_are_refused_by_its_place(tmp_path: Path) -> None:
    stored = [frame(b"first record"), frame(b"second"), frame(b"")]
    whole, path = b"".join(stored), tmp_path / "r"
    offsets = [0, len(stored[0]), len(stored[0]) + len(stored[1])]
    lengths = [len(each) for each in stored]
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        damaged = max(offset for offset in offsets if offset <= place)
        if damaged + 8 <= place < damaged + 12:
            continue  # the checksum of a length that is right all the same
        with path.open("rb") as file, pytest.raises(DamagedArtefact, match=f"byte {damaged}\\b"):
            read_payloads([file.fileno()] * 3, offsets, lengths, [str(path)] * 3)


@pytest.mark.parametrize("length", [0, 3, 15, 16, 27])
def test_read_payloads_of_records_that_are_cut_short_are_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "r"
    path.write_bytes(frame(b"first record")[:length])
    with path.open("rb") as file, pytest.raises(DamagedArtefact, match="byte 0"):
        read_payloads([file.fileno()], [0], [28], [str(path)])
    with path.open("rb") as file, pytest.raises(DamagedArtefact, match="byte 0"):
        read_payloads([file.fileno()], [0], [length], [str(path)])
