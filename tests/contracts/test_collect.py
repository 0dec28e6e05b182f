"""gc removes what is old, and never what LATEST or a reader names, whatever happens beside it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cli import main
from sim_transforms.errors import DamagedArtefact, NotFound, PublishConflict
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.storage.collect import collect
from sim_transforms.storage.leases import READERS, REMOVALS, Hold
from sim_transforms.storage.object_store import LeavesUnfinished, ObjectStore
from sim_transforms.storage.rollback import roll_back
from sim_transforms.storage.versions import latest, list_versions, load_manifest, object_name, publish
from tests.contracts.stores import (
    Interrupted,
    LaterStore,
    Made,
    all_objects,
    assert_latest_is_whole,
    quietly,
    steps,
    whole_objects,
)

DAY = 86400.0
Publish = Callable[[str, str | None], str]


def test_gc_keeps_the_last_and_names_why(store: ObjectStore, three: tuple[str, str, str]) -> None:
    first, second, third = three
    found = collect(LaterStore(store, 2 * DAY), keep=2, min_age_seconds=DAY)
    assert (found.versions, found.uploads, found.unfinished, found.leases) == ((first,), (), (), ())
    assert found.kept == {second: "one of the last", third: "LATEST"}
    assert all_objects(store) == whole_objects(store, [second, third])
    assert found.size_bytes > 10_000


def test_gc_keeps_the_young(store: ObjectStore, three: tuple[str, str, str]) -> None:
    found = collect(LaterStore(store, 0.9 * DAY), keep=1, min_age_seconds=DAY)
    assert found.versions == ()
    assert set(found.kept.values()) == {"too young", "LATEST"}
    assert [v.version for v in list_versions(store)] == list(three)


def test_gc_keeps_latest_after_a_rollback(store: ObjectStore, three: tuple[str, str, str]) -> None:
    first, second, third = three
    roll_back(store, first)
    assert collect(LaterStore(store, DAY), keep=1, min_age_seconds=0).versions == (second,)
    assert_latest_is_whole(store)
    assert {v.version for v in list_versions(store)} == {first, third}


def test_gc_keeps_what_a_reader_holds_until_its_lease_ends(store: ObjectStore, three: tuple[str, str, str]) -> None:
    first, second, third = three
    opened = open_version(store.url, first, lease=True)
    found = collect(store, keep=1, min_age_seconds=0)
    assert found.versions == (second,)
    assert "leased by 1" in found.kept[first]
    assert opened.search_item("item-3", 3)
    assert opened.lease is not None
    opened.lease.renew()
    found = collect(LaterStore(store, 1000), keep=1, min_age_seconds=0)
    assert (found.versions, len(found.leases)) == ((first,), 1)
    opened.close()
    assert all_objects(store) == whole_objects(store, [third])


def test_gc_takes_a_version_whose_reader_has_closed(store: ObjectStore, three: tuple[str, str, str]) -> None:
    with open_version(store.url, three[0], lease=True):
        pass
    assert collect(store, keep=1, min_age_seconds=0).versions == three[:2]


def test_reader_does_not_take_a_lease_on_what_gc_is_removing(store: ObjectStore, three: tuple[str, str, str]) -> None:
    with Hold(store, REMOVALS, three[0]):
        with pytest.raises(NotFound, match="gc is removing"):
            open_version(store.url, three[0], lease=True)
        with Hold(store, REMOVALS, three[2]), open_version(store.url, lease=True) as opened:
            assert opened.version == three[2]
    assert not store.list("leases/")


def test_gc_dry_run_removes_nothing(store: ObjectStore, three: tuple[str, str, str]) -> None:
    before = all_objects(store)
    assert collect(store, keep=1, min_age_seconds=0, dry_run=True).versions == three[:2]
    assert all_objects(store) == before


def test_gc_cleans_interrupted_uploads_by_the_age_of_their_youngest_file(
    store: ObjectStore, made: Made, three: tuple[str, str, str]
) -> None:
    torn = "00000000000000aa"
    for name in ("index.hnsw", "shards/000000.hnsw"):
        store.write(object_name(torn, name), b"some of it")
    store.write("versions/notes.txt", b"not ours")
    assert collect(LaterStore(store, 100), keep=5, min_age_seconds=200).kept[torn] == "too young"
    found = collect(LaterStore(store, 300), keep=5, min_age_seconds=200)
    assert (found.versions, found.uploads) == ((), (torn,))
    assert all_objects(store) == whole_objects(store, list(three)) | {"versions/notes.txt"}


def test_gc_leaves_the_folder_of_a_publisher_at_work_alone(store: ObjectStore, made: Made) -> None:
    manifest = made.named("slow", None)

    def gc_meanwhile() -> None:
        collect(LaterStore(store, 600), keep=1, min_age_seconds=0)

    for at in steps(store):
        interrupted = Interrupted(store, at, gc_meanwhile)
        version = publish(interrupted, made.folder, manifest)
        assert verify_version(store, version) == []
        if interrupted.operations < at:
            break
        for name in all_objects(store):
            store.delete(name)


def test_gc_with_a_publisher_in_between_at_each_step_leaves_latest_whole(
    store: ObjectStore, made: Made, publish_named: Publish
) -> None:
    """The publisher brings the very id back that gc is about to remove."""
    outcomes = set()
    for at in steps(store):
        first = publish_named("first", latest(store))
        second = publish_named("second", first)
        roll_back(store, first)
        interrupted = Interrupted(store, at, quietly(lambda base=first: publish_named("second", base)))
        collect(interrupted, keep=1, min_age_seconds=0)
        current = assert_latest_is_whole(store)
        assert verify_version(store, current) == []
        outcomes.add(current == second)
        if interrupted.operations < at:
            break
        if current == first:
            assert publish_named("second", first) == second, "the refused publisher's retry"
    assert outcomes == {True, False}


def test_gc_with_a_rollback_in_between_at_each_step_leaves_latest_whole(
    store: ObjectStore, publish_named: Publish
) -> None:
    outcomes = set()
    for at in steps(store):
        first = publish_named("first", latest(store))
        second = publish_named("second", first)
        interrupted = Interrupted(store, at, quietly(lambda target=first: roll_back(store, target)))
        collect(interrupted, keep=1, min_age_seconds=0)
        outcomes.add(assert_latest_is_whole(store) == second)
        if interrupted.operations < at:
            break
    assert outcomes == {True, False}


def test_rollback_with_gc_in_between_at_each_step_leaves_latest_whole(
    store: ObjectStore, publish_named: Publish
) -> None:
    outcomes = set()
    for at in steps(store):
        first = publish_named("first", latest(store))
        publish_named("second", first)
        interrupted = Interrupted(store, at, lambda: collect(store, keep=1, min_age_seconds=0))
        try:
            roll_back(interrupted, first)
        except (NotFound, DamagedArtefact):
            outcomes.add("refused")
        else:
            assert latest(store) == first
            outcomes.add("rolled back")
        assert_latest_is_whole(store)
        if interrupted.operations < at:
            break
    assert outcomes == {"refused", "rolled back"}


def test_two_gc_at_once_at_each_step_remove_the_same(store: ObjectStore, publish_named: Publish) -> None:
    for at in steps(store):
        first = publish_named("first", latest(store))
        second = publish_named("second", first)
        interrupted = Interrupted(store, at, lambda: collect(store, keep=1, min_age_seconds=0))
        collect(interrupted, keep=1, min_age_seconds=0)
        assert all_objects(store) == whole_objects(store, [second])
        if interrupted.operations < at:
            break


def test_publish_of_what_a_dead_gc_was_removing_waits_for_its_lease_to_end(
    store: ObjectStore, made: Made, three: tuple[str, str, str]
) -> None:
    first, second, _ = three
    roll_back(store, first)
    dead = Hold(store, REMOVALS, second)
    dead.renew()
    store.delete(object_name(second, "manifest.json"))
    with pytest.raises(PublishConflict, match="gc is removing"):
        publish(store, made.folder, made.named("second", first))
    assert publish(LaterStore(store, 1000), made.folder, made.named("second", first)) == second
    assert verify_version(store, second) == []


def test_gc_takes_back_what_became_latest_after_its_last_look(store: ObjectStore, three: tuple[str, str, str]) -> None:
    """By a process that slept longer than its lease: it moves LATEST when gc has just taken the manifest."""
    first, second, third = three

    class Late(Interrupted):
        def delete(self, name: str) -> None:
            super().delete(name)
            if name == object_name(first, "manifest.json"):
                info = store.info("LATEST")
                assert info is not None
                assert store.compare_and_swap("LATEST", f"{first}\n".encode(), info.generation)

    found = collect(Late(store, is_watched=False), keep=1, min_age_seconds=0)
    assert first in found.kept
    assert assert_latest_is_whole(store) == first
    assert load_manifest(store, third).parent == second


def test_gc_cleans_temporary_files_of_killed_writers(store: ObjectStore, three: tuple[str, str, str]) -> None:
    if not isinstance(store, LeavesUnfinished):
        pytest.skip("this store leaves none")
    for folder in ("versions/00000000000000aa", f"versions/{three[0]}", "."):
        path = Path(store.url) / folder / ".tmp-1-2-index.hnsw"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert collect(LaterStore(store, 100), keep=5, min_age_seconds=200).unfinished == ()
    found = collect(LaterStore(store, 300), keep=5, min_age_seconds=200)
    assert len(found.unfinished) == 3
    assert not list(Path(store.url).rglob(".tmp-*"))
    assert not (Path(store.url) / "versions" / "00000000000000aa").exists()
    assert all_objects(store) == whole_objects(store, list(three))


def test_gc_cleans_ended_leases_and_leaves_fresh_ones(store: ObjectStore, three: tuple[str, str, str]) -> None:
    ended, fresh = Hold(store, READERS, three[2], ttl_seconds=10), Hold(store, READERS, three[2], ttl_seconds=1000)
    for hold in (ended, fresh, Hold(store, REMOVALS, three[1], ttl_seconds=10)):
        hold.renew()
    assert len(collect(LaterStore(store, 100), keep=5, min_age_seconds=DAY).leases) == 2
    assert [info.name for info in store.list("leases/")] == [fresh.name]


def test_gc_command_answers_as_text_and_json_with_the_configuration(
    store: ObjectStore, three: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        f"name: c\ncatalog: {{source: a.csv}}\nstore: {store.url}\nversions: {{keep: 2, min_age_hours: 0}}"
    )
    assert main(["versions", "gc", "--config", str(config), "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["versions"] == [three[0]]
    assert answer["dry_run"] is True
    assert main(["versions", "gc", "--config", str(config), "--keep", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("removed 2 versions (")
    assert f"{three[2]}  stays: LATEST" in shown
    assert main(["versions", "gc", "--store", store.url]) == 0
    assert "removed nothing" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--keep", "0"], ["--min-age-hours", "-1"], ["--min-age-hours", "nan"]])
def test_gc_command_impossible_limits_are_wrong_usage(flags: list[str], store: ObjectStore) -> None:
    assert main(["versions", "gc", "--store", store.url, *flags]) == 2
