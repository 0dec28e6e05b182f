"""Publishing under races: one chain, nothing torn, the loser told and nothing of his left."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import pytest

from sim_transforms.errors import DamagedArtefact, PublishConflict
from sim_transforms.lookup.verify import verify_version
from sim_transforms.storage.leases import READERS, Hold
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.rollback import roll_back
from sim_transforms.storage.versions import (
    latest,
    list_versions,
    load_manifest,
    object_name,
    publish,
    remove_version,
)
from tests.contracts.stores import AroundStore, Interrupted, Made, all_objects, quietly, rounds_on, steps, whole_objects

PUBLISHERS = 8
Publish = Callable[[str, str | None], str]


def _chain(store: ObjectStore) -> list[str]:
    """LATEST and those before it."""
    chain, current = [], latest(store)
    while current is not None:
        chain.append(current)
        current = load_manifest(store, current).parent
    return chain


def test_publish_with_another_in_between_at_each_step_has_one_winner(store: ObjectStore, made: Made) -> None:
    outcomes = []
    for at in steps(store):
        base = latest(store)
        manifest, other = made.named(f"mine {at}", base), made.named(f"other {at}", base)
        interrupted = Interrupted(store, at, quietly(lambda o=other: publish(store, made.folder, o)))
        try:
            version = publish(interrupted, made.folder, manifest)
        except PublishConflict as error:
            outcomes.append("lost" if "not published" in str(error) else f"lost, but says {error}")
        else:
            assert version in _chain(store)
            outcomes.append("won")
        assert all_objects(store) == whole_objects(store, _chain(store)), "nothing of the loser is left"
        if interrupted.operations < at:
            break
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {"lost", "won"}


def test_publish_with_its_twin_in_between_at_each_step_succeeds(store: ObjectStore, made: Made) -> None:
    """Another publisher of the same bytes, and one who follows him at once."""
    for at in steps(store):
        base = latest(store)
        manifest = made.named(f"twin {at}", base)

        def twin_and_follower(twin=manifest, name=f"after {at}") -> None:
            publish(store, made.folder, made.named(name, publish(store, made.folder, twin)))

        interrupted = Interrupted(store, at, quietly(twin_and_follower))
        version = publish(interrupted, made.folder, manifest)
        assert version in _chain(store)[:2]
        assert verify_version(store, version) == []
        assert all_objects(store) == whole_objects(store, _chain(store))
        if interrupted.operations < at:
            break


def test_publish_again_after_others_have_followed_is_done_already(
    store: ObjectStore, made: Made, three: tuple[str, str, str]
) -> None:
    assert publish(store, made.folder, made.named("first", None)) == three[0]
    assert latest(store) == three[2]


def test_publish_of_what_was_rolled_back_from_is_a_conflict_that_keeps_it(
    store: ObjectStore, made: Made, three: tuple[str, str, str], publish_named: Publish
) -> None:
    first, second, _ = three
    roll_back(store, first)
    publish_named("another second", first)
    with pytest.raises(PublishConflict):
        publish_named("second", first)
    assert second in [found.version for found in list_versions(store)]


@pytest.mark.parametrize("damage", ["lost", "cut", "other bytes"])
def test_publish_again_heals_a_damaged_version(
    damage: str, store: ObjectStore, made: Made, three: tuple[str, str, str]
) -> None:
    name = object_name(three[2], "index.hnsw")
    data = store.read(name)
    if damage == "lost":
        store.delete(name)
    else:
        store.write(name, data[:-1] if damage == "cut" else data[::-1])
    assert verify_version(store, three[2])
    assert publish(store, made.folder, made.named("third", three[1])) == three[2]
    assert verify_version(store, three[2]) == []


def test_publish_uploads_again_what_went_while_it_uploaded(store: ObjectStore, made: Made) -> None:
    class Losing(AroundStore):
        lost = 0

        def upload(self, path, name: str, *part) -> None:
            super().upload(path, name, *part)
            if name.endswith("items.parquet") and self.lost < 2:
                self.lost += 1
                store.delete(name)

    version = publish(Losing(store), made.folder, made.named("a", None))
    assert verify_version(store, version) == []

    class AlwaysLosing(Losing):
        lost = -100

    with pytest.raises(DamagedArtefact, match="something removes its files"):
        publish(AlwaysLosing(store), made.folder, made.named("b", version))
    assert latest(store) == version


def test_publish_after_a_version_that_was_lost_repairs_the_store(
    store: ObjectStore, made: Made, three: tuple[str, str, str]
) -> None:
    store.delete(object_name(three[2], "manifest.json"))
    version = publish(store, made.folder, made.named("rebuilt", three[2]))
    assert verify_version(store, version) == []
    assert latest(store) == version


def test_remove_version_leaves_latest_alone(store: ObjectStore, three: tuple[str, str, str]) -> None:
    assert not remove_version(store, three[2])
    assert verify_version(store, three[2]) == []


def test_remove_version_leaves_alone_what_is_held(store: ObjectStore, three: tuple[str, str, str]) -> None:
    with Hold(store, READERS, three[0]):
        assert not remove_version(store, three[0])
    assert verify_version(store, three[0]) == []
    assert remove_version(store, three[0])
    assert all_objects(store) == whole_objects(store, list(three[1:]))


def _publish_in_rounds(url: str, made: Made, at: tuple[int, int], environment: Any, barrier: Any, results: Any) -> None:
    """All at once, then the losers one by one."""
    os.environ.update(environment)
    store, (place, count) = open_store(url), at
    for number in range(count):
        barrier.wait()
        base, outcome = latest(store), "won"
        barrier.wait()
        try:
            version = publish(store, made.folder, made.named(f"{number}-{place}", base))
        except PublishConflict as error:
            outcome = "lost" if "not published" in str(error) else f"lost, but says {error}"
        barrier.wait()
        for turn in range(PUBLISHERS):
            if turn == place and outcome == "lost":
                version = publish(store, made.folder, made.named(f"{number}-{place}", latest(store)))
            barrier.wait()
        results.put((number, place, outcome, version))


def test_8_publishers_at_once_in_many_rounds_make_one_chain(store: ObjectStore, made: Made) -> None:
    context, count = multiprocessing.get_context("forkserver"), rounds_on(store, 20, 4)
    context.set_forkserver_preload(["tests.contracts.test_publish"])
    barrier, results = context.Barrier(PUBLISHERS), context.Queue()
    children = [
        context.Process(
            target=_publish_in_rounds, args=(store.url, made, (place, count), dict(os.environ), barrier, results)
        )
        for place in range(PUBLISHERS)
    ]
    for child in children:
        child.start()
    try:
        told = [results.get(timeout=120) for _ in range(PUBLISHERS * count)]
    finally:
        for child in children:
            with contextlib.suppress(AssertionError):
                child.join(10)
            child.kill()
    wins = [sum(outcome == "won" for number, _, outcome, _ in told if number == n) for n in range(count)]
    assert min(wins) >= 1
    assert {outcome for *_, outcome, _ in told} <= {"won", "lost"}
    chain = _chain(store)
    assert len(chain) == len(set(chain)) == PUBLISHERS * count
    assert sorted(version for *_, version in told) == sorted(chain)
    assert {found.version for found in list_versions(store)} == set(chain)
    assert all_objects(store) == whole_objects(store, chain)
    assert all(verify_version(store, version) == [] for version in chain[::20])
