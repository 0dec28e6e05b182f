"""Leases hold while they are fresh, by the store's clock, and end by time."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sim_transforms.errors import LeaseHeld, StoreError
from sim_transforms.storage.leases import READERS, REMOVALS, Hold, JobLease, KeptLease, fresh_holds, store_seconds
from sim_transforms.storage.object_store import ObjectStore
from tests.contracts.stores import LaterStore, all_objects

VERSION = "0123456789abcdef"
OTHER = "fedcba9876543210"


def test_hold_is_seen_until_it_is_released(store: ObjectStore) -> None:
    with Hold(store, READERS, VERSION), Hold(store, READERS, VERSION):
        assert fresh_holds(store, READERS) == {VERSION: 2}
        assert fresh_holds(store, READERS, OTHER) == {}
        assert fresh_holds(store, REMOVALS) == {}
    assert fresh_holds(store, READERS) == {}
    assert all_objects(store) == set()


def test_hold_ends_by_time_and_begins_again_when_renewed(store: ObjectStore) -> None:
    hold = Hold(store, READERS, VERSION, ttl_seconds=60)
    hold.renew()
    assert fresh_holds(LaterStore(store, 59), READERS, VERSION) == {VERSION: 1}
    assert fresh_holds(LaterStore(store, 61), READERS, VERSION) == {}
    hold.renew()
    assert fresh_holds(store, READERS, VERSION) == {VERSION: 1}


def test_hold_that_was_cleaned_is_released_all_the_same(store: ObjectStore) -> None:
    with Hold(store, READERS, VERSION) as hold:
        store.delete(hold.name)


def test_hold_that_nobody_can_read_has_ended(store: ObjectStore) -> None:
    store.write(f"{READERS}/{VERSION}/x", b"no lease")
    assert fresh_holds(store, READERS) == {}


def test_many_holds_come_and_go_at_once(store: ObjectStore) -> None:
    def hold(_: int) -> int:
        with Hold(store, READERS, VERSION):
            return fresh_holds(store, READERS, VERSION)[VERSION]

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(hold, range(32))) >= 1
    assert all_objects(store) == set()


def test_store_seconds_is_of_the_store_and_leaves_nothing(store: ObjectStore) -> None:
    store.write("a", b"")
    before = store.info("a")
    assert before is not None
    assert store_seconds(store) >= before.created_seconds
    assert all_objects(store) == {"a"}


def test_job_lease_is_exclusive_and_names_holder_and_age(store: ObjectStore) -> None:
    with JobLease.acquire(store, "reindex", 100) as lease:
        with pytest.raises(LeaseHeld, match=rf"'reindex' is held by {lease.holder}.* \d+ s ago; it ends in \d+ s"):
            JobLease.acquire(store, "reindex", 100)
        JobLease.acquire(store, "other", 100)
    JobLease.acquire(store, "reindex", 100)


def test_job_lease_is_taken_over_when_it_has_ended(store: ObjectStore) -> None:
    dead = JobLease.acquire(store, "reindex", 100)
    with pytest.raises(LeaseHeld, match="99 s ago"):
        JobLease.acquire(LaterStore(store, 99), "reindex")
    taken = JobLease.acquire(LaterStore(store, 101), "reindex")
    with pytest.raises(LeaseHeld, match="taken over"):
        dead.renew()
    dead.release()
    with pytest.raises(LeaseHeld, match=taken.holder):
        JobLease.acquire(store, "reindex")


def test_job_lease_that_was_renewed_is_not_taken_over(store: ObjectStore) -> None:
    lease = JobLease.acquire(store, "reindex", 100)
    before = store.info("leases/jobs/reindex")
    assert before is not None
    lease.renew()
    # As a thief sees it who has found the lease ended just before: the generation has changed with the renewal.
    assert not store.compare_and_swap("leases/jobs/reindex", b"stolen", before.generation)
    lease.renew()
    lease.release()


def test_job_lease_of_16_at_once_has_one_holder(store: ObjectStore) -> None:
    def acquire(_: int) -> JobLease | None:
        try:
            return JobLease.acquire(store, "reindex")
        except LeaseHeld:
            return None

    for _ in range(5):
        with ThreadPoolExecutor(16) as pool:
            (holder,) = [lease for lease in pool.map(acquire, range(16)) if lease is not None]
        holder.release()


def test_kept_lease_is_renewed_while_the_block_runs_and_given_back(store: ObjectStore) -> None:
    with KeptLease(store, "reindex", ttl_seconds=1.5) as lease:
        time.sleep(3)
        with pytest.raises(LeaseHeld):
            JobLease.acquire(store, "reindex", 1.5)
        lease.check()
    JobLease.acquire(store, "reindex", 1.5).release()


def test_kept_lease_that_was_taken_over_says_so_before_anything_is_published(store: ObjectStore) -> None:
    with KeptLease(store, "reindex", ttl_seconds=0.9) as lease:
        store.write("leases/jobs/reindex", b'{"holder": "other", "ttl_seconds": 60, "renewals": 0}')
        time.sleep(1)
        with pytest.raises(LeaseHeld, match="taken over"):
            lease.check()
    assert b"other" in store.read("leases/jobs/reindex")


class Unsteady:
    """The store, which fails once at a compare-and-swap: before it, or after it with the answer lost."""

    def __init__(self, store: ObjectStore, after: bool) -> None:
        self._store, self._after, self.failed = store, after, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Fails at the second call."""
        if self.failed or expected is None:
            return self._store.compare_and_swap(name, data, expected)
        self.failed = True
        if self._after:
            self._store.compare_and_swap(name, data, expected)
        raise StoreError("no answer")


@pytest.mark.parametrize("after", [False, True])
def test_job_lease_outlives_a_renewal_that_failed(after: bool, store: ObjectStore) -> None:
    lease = JobLease.acquire(Unsteady(store, after), "reindex", 100)
    with pytest.raises(StoreError):
        lease.renew()
    lease.renew()
    lease.release()
    JobLease.acquire(store, "reindex", 100).release()


@pytest.mark.parametrize("after", [False, True])
def test_job_lease_that_cannot_be_given_back_hides_no_result(after: bool, store: ObjectStore) -> None:
    with JobLease.acquire(Unsteady(store, after), "reindex", 100):
        pass
    with pytest.raises(ValueError, match="of the job"), JobLease.acquire(Unsteady(store, after), "other", 100):
        raise ValueError("of the job")


def test_kept_lease_of_a_run_that_died_here_need_not_be_waited_for(store: ObjectStore, tmp_path: Path) -> None:
    noted = tmp_path / "state" / "lease"
    killed = KeptLease(store, "reindex", 900, remember=noted)
    killed.__enter__()
    with pytest.raises(LeaseHeld), KeptLease(store, "reindex", 900, remember=tmp_path / "elsewhere"):
        pass
    with KeptLease(store, "reindex", 900, remember=noted) as lease:
        lease.check()
        with pytest.raises(LeaseHeld, match="taken over"):
            killed.check()
    JobLease.acquire(store, "reindex").release()
