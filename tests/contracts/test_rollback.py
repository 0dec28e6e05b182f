"""LATEST goes back to whole versions alone, and says what it did."""

import json
from collections.abc import Callable

import pytest

from pipelines.cli import main
from sim_transforms.errors import DamagedArtefact, NotFound, PublishConflict
from sim_transforms.storage.leases import REMOVALS, Hold
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.rollback import RolledBack, roll_back
from sim_transforms.storage.versions import latest, object_name, remove_version
from tests.contracts.stores import Interrupted, all_objects, assert_latest_is_whole, quietly, steps, whole_objects

Publish = Callable[[str, str | None], str]


def test_rollback_goes_to_the_parent_and_on_to_its_parent(store: ObjectStore, three: tuple[str, str, str]) -> None:
    first, second, third = three
    assert roll_back(store) == RolledBack(third, second)
    assert latest(store) == second
    assert roll_back(store) == RolledBack(second, first)
    with pytest.raises(NotFound, match="the first version"):
        roll_back(store)
    assert latest(store) == first
    assert all_objects(store) == whole_objects(store, list(three))


def test_rollback_to_a_named_version_and_forward_again(store: ObjectStore, three: tuple[str, str, str]) -> None:
    first, _, third = three
    assert roll_back(store, first) == RolledBack(third, first)
    assert roll_back(store, third) == RolledBack(first, third)
    assert roll_back(store, third) == RolledBack(third, third)


def test_publishing_goes_on_from_where_latest_was_rolled_back_to(
    store: ObjectStore, three: tuple[str, str, str], publish_named: Publish
) -> None:
    first, second, third = three
    roll_back(store, first)
    assert publish_named("second", first) == second == latest(store)
    assert publish_named("third", second) == third == latest(store)


@pytest.mark.parametrize("damage", ["lost", "cut", "no manifest", "other manifest"])
def test_rollback_to_what_is_not_whole_is_refused(damage: str, store: ObjectStore, three: tuple[str, str, str]) -> None:
    first, second, third = three
    name = object_name(first, "items.parquet" if damage in ("lost", "cut") else "manifest.json")
    if damage == "cut":
        store.write(name, store.read(name)[:-1])
    elif damage == "other manifest":
        store.write(name, store.read(object_name(second, "manifest.json")))
    else:
        store.delete(name)
    with pytest.raises((NotFound, DamagedArtefact), match=name.rpartition("/")[2]):
        roll_back(store, first)
    assert latest(store) == third
    assert not store.list("leases/")


@pytest.mark.parametrize("name", ["0" * 16, "third", "", "../x"])
def test_rollback_to_no_version_is_not_found(name: str, store: ObjectStore, three: tuple[str, str, str]) -> None:
    with pytest.raises(NotFound):
        roll_back(store, name)
    assert latest(store) == three[2]


def test_rollback_in_an_empty_store_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFound, match="nothing is published"):
        roll_back(store)


def test_rollback_away_from_a_lost_version_needs_a_name(store: ObjectStore, three: tuple[str, str, str]) -> None:
    _, second, third = three
    store.delete(object_name(third, "manifest.json"))
    with pytest.raises(NotFound, match="name a version"):
        roll_back(store)
    assert roll_back(store, second) == RolledBack(third, second)


def test_rollback_to_what_gc_is_removing_is_refused(store: ObjectStore, three: tuple[str, str, str]) -> None:
    with Hold(store, REMOVALS, three[0]), pytest.raises(DamagedArtefact, match="gc is removing"):
        roll_back(store, three[0])
    assert latest(store) == three[2]


def test_rollback_with_a_publisher_in_between_at_each_step_is_whole(
    store: ObjectStore, three: tuple[str, str, str], publish_named: Publish
) -> None:
    first, _, third = three
    outcomes = []
    for at in steps(store):
        roll_back(store, third)
        interrupted = Interrupted(store, at, quietly(lambda: publish_named("fourth", third)))
        try:
            roll_back(interrupted, first)
        except PublishConflict:
            assert assert_latest_is_whole(store) not in three
            outcomes.append("conflict")
        else:
            assert assert_latest_is_whole(store) == first
            outcomes.append("rolled back")
        if interrupted.operations < at:
            break
    # Who publishes before the first look is rolled back; until the swap he wins, and from then on he has lost.
    assert outcomes[:2] == ["rolled back", "conflict"]
    assert outcomes[1:] == sorted(outcomes[1:])


def test_rollback_by_one_that_slept_beyond_its_leases_swaps_back(
    store: ObjectStore, three: tuple[str, str, str]
) -> None:
    """gc takes the target right before the swap, when this process's leases have ended."""
    first, _, third = three

    class Asleep(Interrupted):
        def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
            if data.decode().strip() == first:
                for info in store.list("leases/"):
                    store.delete(info.name)
                assert remove_version(store, first)
            return super().compare_and_swap(name, data, expected)

    with pytest.raises(DamagedArtefact, match=f"LATEST was moved, which is {third} again"):
        roll_back(Asleep(store, is_watched=False), first)
    assert latest(store) == third


def test_rollback_command_says_what_it_did(
    store: ObjectStore, three: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = three
    assert main(["versions", "rollback", "--store", store.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": second, "before": third}
    assert main(["versions", "rollback", first, "--store", store.url]) == 0
    assert f"LATEST is {first} now; it was {second}" in capsys.readouterr().out
    store.delete(object_name(third, "index.hnsw"))
    assert main(["versions", "rollback", "--version", third, "--store", store.url]) == 1
    assert f"version {third} is not whole: index.hnsw" in capsys.readouterr().err
    assert main(["versions", "rollback", first, "--version", third, "--store", store.url]) == 2
