"""`kill -9` at many seeded moments in publish, rollback and gc, beside a reader; the store heals by the next run."""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from typing import Any

import pytest

from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.storage.collect import collect
from sim_transforms.storage.object_store import LeavesUnfinished, ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.rollback import roll_back
from sim_transforms.storage.versions import latest, list_versions, publish, version_id
from tests.contracts.stores import (
    LaterStore,
    Made,
    all_objects,
    assert_latest_is_whole,
    rounds_on,
    steps,
    whole_objects,
)

pytestmark = pytest.mark.slow

DAY = 86400.0
# What Python tells its audit hooks of on the way to a disk or a server.
_EVENTS = {
    "open",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "fcntl.flock",
    "shutil.copyfile",
    "http.client.send",
}


def _act(operation: str, url: str, made: Made, three: tuple[str, str, str]) -> str | None:
    """Does it, or goes on where one was killed that did; gives LATEST."""
    store = open_store(url)
    if operation == "publish":
        publish(store, made.folder, made.named("fourth", three[2]))
    elif operation == "rollback":
        roll_back(store, three[1])
    else:
        collect(store, keep=1, min_age_seconds=0)
    return latest(store)


def _act_and_die(operation: str, url: str, made: Made, three: Any, at: int, environment: Any, counted: Any) -> None:
    """Dies of SIGKILL right before the event of number `at`; counts all of them where that is 0."""
    os.environ.update(environment)

    def hook(event: str, _: object) -> None:
        if event in _EVENTS:
            counted.value += 1
            if counted.value == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    _act(operation, url, made, three)


class _Reader(threading.Thread):
    """Opens LATEST in a loop, which compares every file with its checksum."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.failure: BaseException | None = None
        self._url, self._stopped = url, threading.Event()

    def run(self) -> None:
        try:
            while not self._stopped.is_set() or not self.seen:
                self.seen.append(open_version(self._url).version)
        except BaseException as error:
            self.failure = error

    def stop(self) -> list[str]:
        self._stopped.set()
        self.join()
        if self.failure is not None:
            raise self.failure
        return self.seen


def _child(context: Any, arguments: tuple[Any, ...]) -> tuple[int, int]:
    """(exit code, events that were counted) of a child process."""
    counted = context.Value("i", 0)
    child = context.Process(target=_act_and_die, args=(*arguments, counted))
    child.start()
    child.join()
    return child.exitcode, counted.value


def _heal(store: ObjectStore, made: Made) -> None:
    """The next runs, after the leases of the dead have ended: a gc, a publisher, and all is as if nothing had been."""
    later = LaterStore(store, DAY)
    before = latest(store)
    collect(later, keep=10, min_age_seconds=3600)
    left = [found.version for found in list_versions(store)]
    assert all_objects(store) == whole_objects(store, left)
    assert latest(store) == before
    assert all(verify_version(store, version) == [] for version in left)
    version = publish(store, made.folder, made.named("next", before))
    assert collect(later, keep=1, min_age_seconds=0).kept == {version: "LATEST"}
    assert all_objects(store) == whole_objects(store, [version])
    assert not isinstance(store, LeavesUnfinished) or store.unfinished() == ()


def test_kill_at_many_moments_leaves_whole_versions_and_a_store_that_heals(
    store: ObjectStore, made: Made, publish_named: Any
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.contracts.test_kill_versions"])
    draws, killed = random.Random(5), 0
    totals: dict[str, int] = {}
    moments = rounds_on(store, 50, 11)
    for moment in range(moments + 3):
        operation = ("publish", "rollback", "gc")[moment % 3]
        for name in all_objects(store):
            store.delete(name)
        first = publish_named("first", None)
        second = publish_named("second", first)
        three = (first, second, publish_named("third", second))
        fourth = version_id(made.named("fourth", three[2]).text())
        expected = {"publish": fourth, "rollback": second, "gc": three[2]}[operation]
        at = draws.randint(1, totals[operation]) if operation in totals else 0
        reader = _Reader(store.url)
        reader.start()
        code, counted = _child(context, (operation, store.url, made, three, at, dict(os.environ)))
        versions = reader.stop()
        assert set(versions) <= {*three, fourth}, (operation, at)
        assert_latest_is_whole(store)
        if not at:
            assert code == 0
            totals[operation] = counted
        killed += code == -signal.SIGKILL
        assert _act(operation, store.url, made, three) == expected, (operation, at)
        _heal(store, made)
    assert killed == moments
    assert min(totals.values()) > 20


def test_kill_right_before_each_write_of_a_publisher_heals_by_its_own_retry(
    store: ObjectStore, made: Made, three: tuple[str, str, str]
) -> None:
    class Killed(Exception):
        pass

    class Dying(LaterStore):
        """Dies, as far as the store can tell: nothing more is done to it, not even what `finally` would do."""

        def __init__(self, inner: ObjectStore, at: int) -> None:
            super().__init__(inner, 0)
            self.at, self.writes = at, 0

        def _dies(self) -> None:
            self.writes += 1
            if self.writes >= self.at:
                raise Killed

        def write(self, name: str, data: bytes) -> None:
            self._dies()
            super().write(name, data)

        def upload(self, path: Any, name: str, *part: Any) -> None:
            self._dies()
            super().upload(path, name, *part)

        def delete(self, name: str) -> None:
            self._dies()
            super().delete(name)

        def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
            self._dies()
            return super().compare_and_swap(name, data, expected)

    manifest = made.named("fourth", three[2])
    for at in steps(store):
        try:
            publish(Dying(store, at), made.folder, manifest)
        except Killed:
            assert verify_version(store, assert_latest_is_whole(store)) == []
            fourth = publish(store, made.folder, manifest)
            assert verify_version(store, fourth) == []
            roll_back(store, three[2])
            collect(LaterStore(store, DAY), keep=3, min_age_seconds=0)
        else:
            break
    assert at > 5


@pytest.fixture(autouse=True)
def _no_thread_left() -> Any:
    before = _threads()
    yield
    until = time.monotonic() + 10
    while _threads() > before and time.monotonic() < until:
        time.sleep(0.1)
    assert _threads() <= before


def _threads() -> int:
    """Threads but those of the fake store's gate, which lives as long as the session."""
    gate = ("process_request", "serve_forever")
    return sum(not any(part in thread.name for part in gate) for thread in threading.enumerate())
