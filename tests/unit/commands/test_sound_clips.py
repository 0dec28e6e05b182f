"""An id may be of a sound or of a clip: what each finds, and which clips were left out."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.commands.forget import check_whole_sounds, forget_versions
from sim_transforms.commands.sound_clips import clip_places
from sim_transforms.commands.whereabouts import IndexedRow, holds_clips, named_by, rows_in_version
from sim_transforms.commands.why import why
from sim_transforms.commands.why_text import why_text
from sim_transforms.errors import UsageError
from sim_transforms.records.clips import start_of
from sim_transforms.records.media import Clips
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import list_versions, publish
from tests.unit.storage.published import some_vectors, version_folder

IDS = ["a#0", "a#1", "a#b#0", "a", "a#x"]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A version of the sounds s0 to s19, three clips each; of s7 the clip at 1 s is missing and one at 3 s there."""
    folder = tmp_path / "new"
    manifest = version_folder(folder, some_vectors())
    table = pq.read_table(folder / "items.parquet")
    numbers = [int(item_id.removeprefix("item-")) for item_id in table.column("item_id").to_pylist()]
    sounds, starts = [f"s{n // 3}" for n in numbers], [3.0 if n == 22 else float(n % 3) for n in numbers]
    columns = {
        "row": table.column("row"),
        "item_id": [f"{sound}#{start:g}" for sound, start in zip(sounds, starts, strict=True)],
        "digest": [f"of {sound}" for sound in sounds],
        "source_id": sounds,
        "start": starts,
    }
    pq.write_table(pa.table(columns), folder / "items.parquet")
    manifest = replace(manifest, clips=Clips(2.0, 1.0), files=(file_entry(folder, "items.parquet"),))
    made = LocalStore(str(tmp_path / "store"))
    publish(made, folder, manifest)
    return made


def _version(store: LocalStore) -> str:
    return list_versions(store)[0].version


def test_named_by_finds_items_by_their_own_ids_alone_where_they_are_no_clips() -> None:
    assert named_by(IDS, {"a", "a#1", "b"}, clips=False) == {"a": [3], "a#1": [1]}


def test_named_by_takes_an_id_for_a_sound_where_it_has_clips() -> None:
    assert named_by(IDS, {"a", "a#b", "a#1"}, clips=True) == {"a": [0, 1, 4], "a#b": [2], "a#1": [1]}


def test_rows_of_a_sound_are_those_of_its_clips_and_of_no_other(store: LocalStore) -> None:
    version = _version(store)
    assert holds_clips(store, version)
    found = rows_in_version(store, version, ["s1", "s11#2", "nobody"], clips=True)
    assert {item_id: {row.item_id for row in rows} for item_id, rows in found.items()} == {
        "s1": {"s1#0", "s1#1", "s1#2"},
        "s11#2": {"s11#2"},
    }
    assert [row.row for row in found["s1"]] == sorted(row.row for row in found["s1"])


def test_start_of_a_clip_is_told_by_its_id() -> None:
    assert (start_of("a#b#2.5"), start_of("a#b"), start_of("a"), start_of("#1")) == (2.5, None, None, None)


def test_clip_that_is_missing_between_others_was_silent() -> None:
    rows = [IndexedRow("a#0", 4), IndexedRow("a#1.5", 2), IndexedRow("a#2.25", 9)]
    found = clip_places("a", rows, Clips(2.0, 0.5), None, None)
    assert [(place.item_id, place.row) for place in found] == [
        ("a#0", 4), ("a#0.5", None), ("a#1", None), ("a#1.5", 2), ("a#2", None), ("a#2.25", 9),
    ]  # fmt: skip


def test_why_without_a_configuration_tells_sounds_and_clips(store: LocalStore) -> None:
    found = why("s7", store.url, None)
    assert found.published is not None
    assert (found.status, found.sound, found.published.clips) == ("published", "s7", 3)
    assert [(clip.start, clip.row is None) for clip in found.clips] == [(0, False), (1, True), (2, False), (3, False)]
    assert "clips      3, from 0, 2, 3 s on\nsilent     1 skipped, from 1 s on" in why_text(found)
    assert why("s7#1", store.url, None).status == "silent"
    assert why("s7#9", store.url, None).status == "unknown"
    clip = why("s7#3", store.url, None)
    assert clip.published is not None
    assert (clip.status, clip.published.clips, clip.clips[0].row) == ("published", 0, clip.published.row)
    assert "clip       of s7, from 3 s on" in why_text(clip)


def test_forget_refuses_a_clip_and_takes_versions_that_hold_a_sound(store: LocalStore) -> None:
    with pytest.raises(UsageError, match=r"'s3#1' is a clip of the sound 's3'.*give 's3'"):
        check_whole_sounds(store, ["s4", "s3#1"], known=())
    check_whole_sounds(store, ["s4", "s3#1"], known=["s3#1"])
    check_whole_sounds(store, ["s4", "nobody#1"], known=())
    (found,) = forget_versions(store, ["s4"], 0.0)
    assert (found.items, found.reason) == (("s4",), "LATEST")
    assert forget_versions(store, ["s"], 0.0) == ()
