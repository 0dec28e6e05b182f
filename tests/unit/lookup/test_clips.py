"""A sound is found by its clips the same way whether the table of items is held or read by row group."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sim_transforms.errors import NotFound
from sim_transforms.lookup.clips import search_sound_item, sounds_near
from sim_transforms.lookup.items import HeldItems, PagedItems
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.records.media import Clips
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish
from tests.unit.storage.published import routed_folder, some_vectors

SOUNDS, CLIPS = 20, 3


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A routed version of twenty sounds of three clips; all clips of a sound point almost the same way."""
    folder = tmp_path_factory.mktemp("clips")
    vectors = some_vectors(items=SOUNDS).repeat(CLIPS, axis=0) + 0.05 * some_vectors(1, SOUNDS * CLIPS)
    manifest = routed_folder(folder / "new", vectors, probe=9)
    table = pq.read_table(folder / "new" / "items.parquet")
    numbers = [int(item_id.removeprefix("item-")) for item_id in table.column("item_id").to_pylist()]
    columns = {
        "row": table.column("row"),
        "item_id": [f"s{n // CLIPS:02d}#{n % CLIPS}" for n in numbers],
        "source_id": [f"s{n // CLIPS:02d}" for n in numbers],
        "start": [float(n % CLIPS) for n in numbers],
    }
    pq.write_table(pa.table(columns), folder / "new" / "items.parquet", row_group_size=16)
    names = ("centroids.npy", "items.parquet", "longest.npy")
    files = tuple(file_entry(folder / "new", name) for name in names)
    store = LocalStore(str(folder / "store"))
    publish(store, folder / "new", replace(manifest, clips=Clips(2.0, 1.0), files=files, canaries=()))
    return store.url


@pytest.fixture(params=[None, 1])
def opened(url: str, request: pytest.FixtureRequest) -> OpenVersion:
    """With the whole table in memory, and with bounded memory."""
    found = open_version(url, memory_budget_mib=request.param)
    assert isinstance(found._items, HeldItems if request.param is None else PagedItems)
    return found


def test_search_of_a_sound_answers_with_each_other_sound_once(opened: OpenVersion) -> None:
    found = search_sound_item(opened, "s07", SOUNDS)
    assert sorted(match.item_id for match in found) == [f"s{n:02d}" for n in range(SOUNDS) if n != 7]
    assert [match.distance for match in found] == sorted(match.distance for match in found)
    assert all("start" not in match.metadata for match in found)


def test_search_of_a_clip_leaves_its_own_sound_out(opened: OpenVersion) -> None:
    found = search_sound_item(opened, "s07#1", 5)
    assert len(found) == 5
    assert "s07" not in {match.item_id for match in found}


def test_search_of_a_sound_with_bounded_memory_does_not_hold_the_table(url: str) -> None:
    bounded = open_version(url, memory_budget_mib=1)
    assert search_sound_item(bounded, "s03", 4) == search_sound_item(open_version(url), "s03", 4)
    assert "items" not in vars(bounded)


def test_search_of_what_is_no_sound_and_no_clip_is_not_found(opened: OpenVersion) -> None:
    for unknown in ("nobody", "s07#9"):
        with pytest.raises(NotFound, match=unknown):
            search_sound_item(opened, unknown, 3)


def test_records_where_gives_the_clips_of_one_sound(opened: OpenVersion) -> None:
    found = opened.records_where("source_id", "s11")
    assert sorted(record["item_id"] for record in found) == ["s11#0", "s11#1", "s11#2"]
    assert [record["row"] for record in found] == sorted(record["row"] for record in found)
    assert opened.records_where("source_id", "s") == []


def test_sounds_near_names_each_other_sound_by_its_nearest_clip(opened: OpenVersion) -> None:
    vector = opened.vector_of("s02#0")[None]
    (found,) = sounds_near(opened, vector, ["s02"], 6)
    named = [match.metadata["source_id"] for match in found]
    assert len(set(named)) == 6
    assert "s02" not in named
    (everything,) = opened.search(vector, SOUNDS * CLIPS)
    nearest = {match.metadata["source_id"]: match.item_id for match in reversed(everything)}
    assert [match.item_id for match in found] == [nearest[sound] for sound in named]
