"""What meets by its id is compared: pictures one by one, sounds with all clips that are published of them."""

import hashlib
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.diff_catalog import Difference, KnownItem, Place, compare, read_known
from sim_transforms.records.items import FailedItem, MediaRef, Scalar

STARTS = (0.0, 1.0, 2.5)


def _reference(folder: Path, name: str, label: str = "l", content: bytes = b"one", **metadata: Scalar) -> MediaRef:
    path = folder / f"{name}.wav"
    path.write_bytes(content)
    return MediaRef(name, str(path), label, "train", 1, tuple(sorted(metadata.items())))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _clips(name: str, first_row: int, content: bytes = b"one", label: str = "l", **metadata: Scalar) -> list[KnownItem]:
    own = tuple(sorted(metadata.items()))
    places = [Place(first_row + n, f"{name}#{start:g}", start) for n, start in enumerate(STARTS)]
    return [KnownItem(name, place, label, _digest(content), own) for place in places]


def _sent(*entries: object) -> list[bytes]:
    """In lists of two."""
    return [pickle.dumps(entries[start : start + 2]) for start in range(0, len(entries), 2)]


def _compared(folder: Path, *entries: object) -> list[Difference]:
    fresh = folder / "fresh"
    fresh.mkdir(exist_ok=True)
    return list(compare((0, _sent(*reversed(entries))), str(fresh), False).differences)


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """items.parquet of two sounds, their rows mixed."""
    rows = [("a", 0.0), ("b", 0.0), ("a", 1.0)]
    table = pa.table(
        {
            "row": pa.array([4, 5, 7], pa.int32()),
            "item_id": [f"{sound}#{start:g}" for sound, start in rows],
            "digest": [sound * 3 for sound, _ in rows],
            "label": ["x", None, "x"],
            "place": [1, 2, 1],
            "source_id": [sound for sound, _ in rows],
            "start": [start for _, start in rows],
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    return tmp_path / "items.parquet"


def test_read_known_of_clips_gives_the_sound_without_a_clips_own_metadata(items: Path) -> None:
    found = list(read_known(0, str(items), clips=True))
    assert found[2] == KnownItem("a", Place(7, "a#1", 1.0), "x", "aaa", (("place", 1),))
    assert [known.item_id for known in found] == ["a", "b", "a"]
    assert found[1].label == ""


def test_read_known_of_pictures_leaves_columns_of_those_names_as_metadata(items: Path) -> None:
    found = next(read_known(0, str(items)))
    assert (found.item_id, found.place) == ("a#0", Place(4, "a#0", None))
    assert found.metadata == (("place", 1), ("source_id", "a"), ("start", 0.0))


def test_sound_that_is_gone_takes_the_rows_of_all_its_clips(tmp_path: Path) -> None:
    known = _clips("a", 10)
    (found,) = _compared(tmp_path, *known)
    assert (found.kind, found.item_id, found.digest) == ("removed", "a", _digest(b"one"))
    assert [place.row for place in found.places] == [10, 11, 12]


def test_sound_whose_file_differs_is_changed_once_with_all_rows(tmp_path: Path) -> None:
    (found,) = _compared(tmp_path, *_clips("a", 10), _reference(tmp_path, "a", content=b"two"))
    assert (found.kind, len(found.places)) == ("changed", len(STARTS))


def test_sound_with_another_label_or_metadata_keeps_its_clips(tmp_path: Path) -> None:
    for reference in (
        _reference(tmp_path, "a", label="other", place=1),
        _reference(tmp_path, "a", place=2),
    ):
        (found,) = _compared(tmp_path, *_clips("a", 10, place=1), reference)
        assert (found.kind, found.reference) == ("metadata", reference)
        assert [(p.row, p.item_id, p.start) for p in found.places] == [
            (10, "a#0", 0.0), (11, "a#1", 1.0), (12, "a#2.5", 2.5),
        ]  # fmt: skip


def test_sound_that_is_the_same_is_read_once_and_counted_as_one(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    entries = [*_clips("a", 10, place=1), _reference(tmp_path, "a", place=1)]
    found = compare((0, _sent(*entries)), str(tmp_path / "fresh"), False)
    assert (found.differences, found.same, found.files_read) == ((), 1, 1)
    sources = pq.read_table(tmp_path / "fresh" / "sources-000000.parquet").to_pylist()
    assert [(row["item_id"], row["digest"]) for row in sources] == [("a", _digest(b"one"))]


def test_sound_that_is_new_has_no_places(tmp_path: Path) -> None:
    (found,) = _compared(tmp_path, _reference(tmp_path, "a"))
    assert (found.kind, found.places, found.digest) == ("added", (), "")


def test_sound_that_the_catalog_gives_twice_is_repeated_however_many_clips_it_has(tmp_path: Path) -> None:
    failed = FailedItem("a", "", "catalog", "missing_uri", "")
    (found,) = _compared(tmp_path, *_clips("a", 10), _reference(tmp_path, "a"), failed)
    assert (found.kind, found.rows) == ("repeated", (1,))


def test_file_above_the_limit_is_not_read_to_compare_it(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    entries = [*_clips("a", 10), _reference(tmp_path, "a")]
    (found,) = compare((0, _sent(*entries)), str(tmp_path / "fresh"), False, most_bytes=2).differences
    assert found.kind == "changed"
