"""The native file: NMSLIB's own files are read, ours are whole, damage is named."""

import struct
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact
from sim_transforms.hnsw.file_format import HEADER_BYTES, header_bytes, read_header, read_index, read_vector
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


def _read(data: bytes, folder: Path) -> object:
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
        (0, "<i", 3, "its id"),
        (8, "<Q", 5, "vector bytes"),
        (16, "<f", float("nan"), "not finite"),
        (16 + 4 * DIMENSION, "<i", 9, "link count"),
        (16 + 4 * DIMENSION, "<i", -1, "link count"),
        (20 + 4 * DIMENSION, "<i", ITEMS, "a link is out of range"),
        (20 + 4 * DIMENSION, "<i", -1, "a link is out of range"),
        (20 + 4 * DIMENSION, "<i", 7, "to itself"),
    ],
)
def test_read_index_wrong_record_is_named(
    whole: bytes, tmp_path: Path, offset: int, layout: str, value: int, named: str
) -> None:
    with pytest.raises(DamagedArtefact, match=f"record of row 7: .*{named}"):
        _read(_with(whole, HEADER_BYTES + 7 * RECORD + offset, layout, value), tmp_path)


def test_read_index_repeated_link_is_refused(whole: bytes, tmp_path: Path) -> None:
    start = HEADER_BYTES + 7 * RECORD + 20 + 4 * DIMENSION
    first = struct.unpack_from("<i", whole, start)[0]
    with pytest.raises(DamagedArtefact, match="stands twice"):
        _read(_with(whole, start + 4, "<i", first), tmp_path)


@pytest.mark.parametrize("value", [4, -4, 20 * 64, 2**31 - 1])
def test_read_index_wrong_upper_size_is_refused(whole: bytes, tmp_path: Path, value: int) -> None:
    with pytest.raises(DamagedArtefact, match="upper links of row 0"):
        _read(_with(whole, HEADER_BYTES + ITEMS * RECORD, "<i", value), tmp_path)


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


def test_read_index_changed_bytes_never_fail_in_another_way(whole: bytes, tmp_path: Path) -> None:
    generator, refused = np.random.default_rng(0), 0
    for place in generator.integers(0, len(whole), 300).tolist():
        try:
            _read(_with(whole, place, "<B", whole[place] ^ int(generator.integers(1, 256))), tmp_path)
        except DamagedArtefact:
            refused += 1
    assert 30 < refused < 300


def test_index_of_no_items_is_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.hnsw"
    path.write_bytes(header_bytes(0, DIMENSION, SETTINGS, no_upper_layers()))
    assert read_header(path).items == len(read_index(path).records) == 0
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DamagedArtefact, match="header field items is 0"):
        read_header(path)
