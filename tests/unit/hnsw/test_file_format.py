"""The native file: NMSLIB's own files are read, ours are whole, damage is named."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw.file_format import (
    HEADER_BYTES,
    NativeIndex,
    header_bytes,
    read_header,
    read_index,
    read_vector,
    record_bytes,
    upper_bytes,
)
from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.hnsw.upper import no_upper_layers
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered

ITEMS, DIMENSION = 300, 6
SETTINGS = IndexSettings(space="l2", shard_items=60, m=4)
RECORD = 16 + 4 * DIMENSION + 4 + 4 * 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "index.hnsw"
    build_whole(clustered(ITEMS, DIMENSION), SETTINGS, path)
    return path.read_bytes()


def _read(data: bytes, folder: Path) -> NativeIndex:
    path = folder / "index.hnsw"
    path.write_bytes(data)
    return read_index(path)


def _with(data: bytes, place: int, layout: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, value)
    return bytes(changed)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dimension", [1, 5, 16])
def test_header_equals_that_of_nmslib(space: str, dimension: int, tmp_path: Path) -> None:
    index = nmslib.init(method="hnsw", space=space_of(space).nmslib_space)
    index.addDataPointBatch(clustered(40, dimension))
    index.createIndex({"M": 16, "post": 0})
    index.saveIndex(str(tmp_path / "theirs"), save_data=False)
    theirs = (tmp_path / "theirs").read_bytes()[:HEADER_BYTES]
    ours = header_bytes(40, dimension, IndexSettings(space=space), no_upper_layers())
    # Bytes 32 to 40 hold the highest level and the entry point, which belong to the graph.
    assert ours[:32] + ours[40:] == theirs[:32] + theirs[40:]


def test_read_index_gives_back_what_was_written(whole: bytes, tmp_path: Path) -> None:
    index = _read(whole, tmp_path)
    assert sorted(map(bytes, index.records["vector"])) == sorted(map(bytes, clustered(ITEMS, DIMENSION)))
    assert index.levels.max() == index.header.max_level


def test_read_vector_equals_the_record(whole: bytes, tmp_path: Path) -> None:
    index = _read(whole, tmp_path)
    for row in (0, 17, ITEMS - 1):
        np.testing.assert_array_equal(read_vector(tmp_path / "index.hnsw", row), index.records["vector"][row])


@pytest.mark.parametrize("row", [-1, ITEMS])
def test_read_vector_row_out_of_range_is_refused(whole: bytes, tmp_path: Path, row: int) -> None:
    _read(whole, tmp_path)
    with pytest.raises(DamagedArtefact, match=f"row {row} was asked for"):
        read_vector(tmp_path / "index.hnsw", row)


@pytest.mark.parametrize(
    ("place", "layout", "value", "named"),
    [
        (0, "<I", 0, "optimised"),
        (4, "<I", ITEMS * 5, "items"),
        (8, "<Q", RECORD + 4, "record bytes"),
        (16, "<Q", 17, "offset of links"),
        (24, "<Q", 8, "offset of data"),
        (32, "<i", -1, "max level"),
        (36, "<I", ITEMS, "entry point"),
        (40, "<Q", 0, "maxM"),
        (48, "<Q", 5, "maxM0"),
        (56, "<i", 1, "distance"),
        (60, "<Q", 4, "search method"),
    ],
)
def test_read_index_wrong_header_field_is_named(
    whole: bytes, tmp_path: Path, place: int, layout: str, value: int, named: str
) -> None:
    with pytest.raises(DamagedArtefact, match=f"header field {named} is"):
        _read(_with(whole, place, layout, value), tmp_path)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "named"),
    [
        (0, "<i", 3, "its id is 3, expected the row"),
        (4, "<i", 0, "its label is 0, expected -1"),
        (8, "<Q", 5, "vector bytes is 5, expected 24"),
        (12, "<i", 1, "vector bytes"),
        (16, "<f", float("nan"), "not finite"),
        (20, "<f", float("-inf"), "not finite"),
        (36, "<f", 1e19, "too long"),
        (16 + 4 * DIMENSION, "<i", 9, "link count is 9, expected 0 to 8"),
        (16 + 4 * DIMENSION, "<i", -1, "link count"),
        (20 + 4 * DIMENSION, "<i", ITEMS, "link 0 is 300: a link is out of range"),
        (20 + 4 * DIMENSION, "<i", -1, "a link is out of range"),
        (20 + 4 * DIMENSION, "<i", 7, "to itself"),
    ],
)
def test_read_index_wrong_record_is_named(
    whole: bytes, tmp_path: Path, offset: int, layout: str, value: int, named: str
) -> None:
    place = HEADER_BYTES + 7 * RECORD
    # A vector and the u64 of its bytes are named by where they start.
    start = 16 if 16 <= offset < 16 + 4 * DIMENSION else min(offset, 8) if offset < 16 else offset
    with pytest.raises(DamagedArtefact, match=f"record of row 7 at byte {place + start}: .*{named}"):
        _read(_with(whole, place + offset, layout, value), tmp_path)


@pytest.mark.parametrize("row", [0, 1, 2, 3, 149, ITEMS - 2, ITEMS - 1])
def test_read_index_damage_is_found_in_any_block(
    whole: bytes, tmp_path: Path, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim_transforms.hnsw.file_check._BLOCK_BYTES", 2 * RECORD)
    start = HEADER_BYTES + row * RECORD + 16 + 4 * DIMENSION
    with pytest.raises(DamagedArtefact, match=f"record of row {row} at byte {start}: its link count is 9"):
        _read(_with(whole, start, "<i", 9), tmp_path)


def test_read_index_memory_is_a_block_and_12_bytes_an_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = 20_000
    links = (np.arange(items)[:, None] + np.arange(1, 9)) % items
    parts = [
        header_bytes(items, 64, SETTINGS, no_upper_layers()),
        record_bytes(clustered(items, 64), 0, links.astype(np.int32)),
        upper_bytes(0, items, no_upper_layers(), SETTINGS),
    ]
    (tmp_path / "i").write_bytes(b"".join(parts))
    read_index(tmp_path / "i")
    monkeypatch.setattr("sim_transforms.hnsw.file_check._BLOCK_BYTES", 2**17)
    tracemalloc.start()
    try:
        read_index(tmp_path / "i")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**17 + 12 * items + 2**17 < len(parts[1]) / 10


def test_read_index_repeated_link_is_refused(whole: bytes, tmp_path: Path) -> None:
    start = HEADER_BYTES + 7 * RECORD + 20 + 4 * DIMENSION
    first = struct.unpack_from("<i", whole, start)[0]
    with pytest.raises(DamagedArtefact, match="stands twice"):
        _read(_with(whole, start + 4, "<i", first), tmp_path)


@pytest.mark.parametrize("value", [4, -4, 20 * 64, 2**31 - 1])
def test_read_index_wrong_upper_size_is_refused(whole: bytes, tmp_path: Path, value: int) -> None:
    place = HEADER_BYTES + ITEMS * RECORD
    with pytest.raises(DamagedArtefact, match=f"upper links of row 0 at byte {place}: their size is {value}"):
        _read(_with(whole, place, "<i", value), tmp_path)


def test_read_index_sizes_that_leave_words_over_are_refused(whole: bytes, tmp_path: Path) -> None:
    # The last block that is not empty loses its size: its words are taken for sizes of the rows after it.
    index = _read(whole, tmp_path)
    last = int(np.flatnonzero(index.levels)[-1])
    emptied = _with(whole, HEADER_BYTES + ITEMS * RECORD + 4 * int(index.starts[last]) - 4, "<i", 0)
    with pytest.raises(DamagedArtefact, match=r"upper links of row .*: their size is"):
        _read(emptied, tmp_path)


def test_read_index_entry_point_below_the_highest_level_is_refused(whole: bytes, tmp_path: Path) -> None:
    row = int(np.flatnonzero(_read(whole, tmp_path).levels == 0)[0])
    with pytest.raises(DamagedArtefact, match=f"entry point, row {row}, is at level 0"):
        _read(_with(whole, 36, "<I", row), tmp_path)


@pytest.mark.parametrize(("word", "value"), [(0, 5), (0, -1), (1, ITEMS), (1, -1)])
def test_read_index_wrong_upper_link_is_named(whole: bytes, tmp_path: Path, word: int, value: int) -> None:
    index = _read(whole, tmp_path)
    row = int(np.flatnonzero(index.levels)[0])
    place = HEADER_BYTES + ITEMS * RECORD + 4 * (int(index.starts[row]) + word)
    with pytest.raises(DamagedArtefact, match=f"upper links of row {row} at byte {place}: a count or link is {value}"):
        _read(_with(whole, place, "<i", value), tmp_path)


def test_read_index_upper_link_that_stands_twice_is_refused(whole: bytes, tmp_path: Path) -> None:
    index = _read(whole, tmp_path)
    row = next(int(r) for r in np.flatnonzero(index.levels) if index.upper[index.starts[r]] >= 2)
    start = int(index.starts[row])
    place = HEADER_BYTES + ITEMS * RECORD + 4 * (start + 2)
    with pytest.raises(DamagedArtefact, match=f"upper links of row {row} at byte {place}: .*twice"):
        _read(_with(whole, place, "<i", int(index.upper[start + 1])), tmp_path)


def test_read_index_what_stands_in_unused_links_does_not_matter(whole: bytes, tmp_path: Path) -> None:
    # NMSLIB's own writer leaves there what its memory held, and its search takes it for a prefetch alone.
    index = _read(whole, tmp_path)
    row = int(np.flatnonzero(index.records["count"] < 8)[0])
    noisy = _with(whole, HEADER_BYTES + (row + 1) * RECORD - 4, "<i", 2**31 - 1)
    assert _read(noisy, tmp_path).records["count"][row] == index.records["count"][row]


def test_read_index_upper_link_to_an_item_of_layer_0_is_refused(whole: bytes, tmp_path: Path) -> None:
    index = _read(whole, tmp_path)
    row, low = int(np.flatnonzero(index.levels)[0]), int(np.flatnonzero(index.levels == 0)[0])
    place = HEADER_BYTES + ITEMS * RECORD + 4 * int(index.starts[row]) + 4
    with pytest.raises(DamagedArtefact, match=f"upper links of row {row}"):
        _read(_with(whole, place, "<i", low), tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.3, 0.9, 0.999])
def test_read_index_truncated_file_is_refused(whole: bytes, tmp_path: Path, share: float) -> None:
    with pytest.raises(DamagedArtefact):
        _read(whole[: int(share * len(whole))], tmp_path)


@pytest.mark.parametrize("extra", [1, 4, 400])
def test_read_index_longer_file_is_refused(whole: bytes, tmp_path: Path, extra: int) -> None:
    with pytest.raises(DamagedArtefact):
        _read(whole + bytes(extra), tmp_path)


def test_index_of_no_items_is_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.hnsw"
    path.write_bytes(header_bytes(0, DIMENSION, SETTINGS, no_upper_layers()))
    assert read_header(path).items == len(read_index(path).records) == 0
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DamagedArtefact, match="4 bytes of upper links"):
        read_header(path)


@pytest.mark.parametrize("extra", [-16, -4, -1, 1, 4, 19])
def test_read_header_size_that_no_upper_links_give_is_refused(whole: bytes, tmp_path: Path, extra: int) -> None:
    path = tmp_path / "index.hnsw"
    path.write_bytes(whole[:extra] if extra < 0 else whole + bytes(extra))
    with pytest.raises(DamagedArtefact, match="bytes of upper links"):
        read_header(path)


def test_read_index_one_block_of_upper_links_less_is_refused(whole: bytes, tmp_path: Path) -> None:
    # A size that upper links can have: the header does not show it, the sizes do.
    path = tmp_path / "index.hnsw"
    path.write_bytes(whole[:-20])
    assert read_header(path).items == ITEMS
    with pytest.raises(DamagedArtefact, match="upper links of row"):
        read_index(path)


@pytest.mark.parametrize("level", [0, 10**9])
def test_read_header_level_that_the_upper_links_cannot_have_is_refused(
    whole: bytes, tmp_path: Path, level: int
) -> None:
    (tmp_path / "index.hnsw").write_bytes(_with(whole, 32, "<i", level))
    with pytest.raises(DamagedArtefact, match=r"level (0 with maxM 4|is 1000000000)"):
        read_header(tmp_path / "index.hnsw")


@pytest.mark.parametrize("row", [0, ITEMS - 1])
def test_read_header_file_whose_ends_were_not_written_is_refused(whole: bytes, tmp_path: Path, row: int) -> None:
    place = HEADER_BYTES + row * RECORD
    (tmp_path / "index.hnsw").write_bytes(whole[:place] + bytes(RECORD) + whole[place + RECORD :])
    with pytest.raises(DamagedArtefact, match=f"record of row {row} at byte {place}: id, label and vector bytes are"):
        read_header(tmp_path / "index.hnsw")


@pytest.mark.parametrize(("items", "dimension"), [(2**31, 8), (-1, 8), (1, 0), (1, 2**22)])
def test_header_bytes_what_does_not_fit_is_a_usage_error(items: int, dimension: int) -> None:
    with pytest.raises(UsageError, match="do not fit into one index"):
        header_bytes(items, dimension, SETTINGS, no_upper_layers())
