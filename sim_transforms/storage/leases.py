"""Leases: objects in the store that say for how long something must be left alone, judged by the store's own clock.

Two kinds. A `Hold` is shared: any number of holders name a version, each by an object of its own. A `JobLease` is
exclusive: one object, moved by compare-and-swap. Both end by time, so that what a killed process leaves behind frees
itself. `README.md` has the protocol between holders and `gc`. Leases are no part of a published version.
"""

import contextlib
import json
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sim_transforms.errors import LeaseHeld, NotFound, RuijiError
from sim_transforms.storage.files import write_file
from sim_transforms.storage.object_store import ObjectInfo, ObjectStore

READERS = "leases/readers"
REMOVALS = "leases/removals"
JOBS = "leases/jobs"
CLOCK = "leases/clock"

LEASE_SECONDS = 900.0
_RELEASED = b"released\n"


def new_holder() -> str:
    """A random name for a holder."""
    return secrets.token_hex(8)


def store_seconds(store: ObjectStore) -> float:
    """The store's own clock, seconds since 1970: the time of an object that is written and removed again."""
    name = f"{CLOCK}/{new_holder()}"
    store.write(name, b"")
    written = store.info(name)
    store.delete(name)
    if written is None:
        raise NotFound(f"{store.url}: {name} was written, but is not there; the store's clock cannot be read")
    return written.created_seconds


class Hold:
    """One holder's shared lease on a version; a context manager that takes and releases it.

    Args:
        store: that holds the version.
        kind: READERS (gc leaves the version alone) or REMOVALS (gc is removing it).
        version: its id.
        ttl_seconds: it ends by itself so long after it was taken or renewed.
    """

    def __init__(self, store: ObjectStore, kind: str, version: str, ttl_seconds: float = LEASE_SECONDS) -> None:
        self._store, self._ttl_seconds = store, ttl_seconds
        self.holder = new_holder()
        self.name = f"{kind}/{version}/{self.holder}"

    def renew(self) -> None:
        """Takes it, or lets its time begin again; call it well before the time is over."""
        self._store.write(self.name, _content(self.holder, self._ttl_seconds))

    def release(self) -> None:
        """Gives it back; nothing where it had ended and was cleaned."""
        with contextlib.suppress(NotFound):
            self._store.delete(self.name)

    def __enter__(self) -> Self:
        self.renew()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.release()


def fresh_holds(store: ObjectStore, kind: str, version: str = "") -> dict[str, int]:
    """Version -> number of holders whose leases have not ended.

    Args:
        store: to look in.
        kind: READERS or REMOVALS.
        version: this one alone; costs one request where nobody holds it.
    """
    found = store.list(f"{kind}/{version}/" if version else f"{kind}/")
    now = store_seconds(store) if found else 0.0
    held: dict[str, int] = {}
    for info in found:
        if not has_ended(store, info, now):
            held[info.name.split("/")[2]] = held.get(info.name.split("/")[2], 0) + 1
    return held


def has_ended(store: ObjectStore, info: ObjectInfo, now: float) -> bool:
    """Whether a lease is over, `now` by the store's clock; one that is gone, or that nobody can read, is."""
    try:
        lease = _parsed(store.read(info.name))
    except NotFound:
        return True
    return lease is None or now - info.created_seconds >= lease.ttl_seconds


class JobLease:
    """The exclusive lease of a job: `with JobLease.acquire(store, "reindex"): ...`.

    Attributes:
        name: of the job.
        holder: random name of this holder.
    """

    def __init__(self, store: ObjectStore, name: str, ttl_seconds: float) -> None:
        """Takes nothing; `acquire` does."""
        self._store, self._object, self._ttl_seconds = store, f"{JOBS}/{name}", ttl_seconds
        self.name, self.holder = name, new_holder()
        self._renewals = 0

    @classmethod
    def acquire(cls, store: ObjectStore, name: str, ttl_seconds: float = LEASE_SECONDS, dead: str = "") -> Self:
        """Takes the lease, over from another holder where his has ended.

        Args:
            store: that all runs of the job share.
            name: of the job.
            ttl_seconds: it ends by itself so long after it was taken or renewed.
            dead: a holder of whom the caller knows that he has died; his lease is over.

        Raises:
            LeaseHeld: another holds it; names the holder and since when.
        """
        lease = cls(store, name, ttl_seconds)
        info = store.info(lease._object)
        if info is not None and (held := _parsed(_read(store, lease._object))) is not None:
            age = store_seconds(store) - info.created_seconds
            if age < held.ttl_seconds and held.holder != dead:
                raise LeaseHeld(
                    f"{store.url}: job {name!r} is held by {held.holder}, who took or renewed it {age:.0f} s ago; it "
                    f"ends in {held.ttl_seconds - age:.0f} s: wait for that run, or until then if it has died"
                )
        if not store.compare_and_swap(lease._object, lease._text(), info.generation if info else None):
            raise LeaseHeld(f"{store.url}: job {name!r} was taken by another run at this moment; wait for it")
        return lease

    def renew(self) -> None:
        """Lets its time begin again, also where it has ended but nobody has taken it over; raises LeaseHeld.

        May be repeated where the store did not answer, whether or not the renewal had reached it.
        """
        self._renewals += 1  # A content that never comes again: stores may take its digest for the generation.
        if not self._swap(self._text()):
            raise LeaseHeld(
                f"{self._store.url}: the lease of job {self.name!r} had ended and was taken over by another run; "
                f"stop here, and renew within {self._ttl_seconds:.0f} s next time"
            )

    def release(self) -> None:
        """Gives it back, unless another has taken it over."""
        self._swap(_RELEASED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # What the job has done stands; a lease that could not be given back ends by time.
        with contextlib.suppress(RuijiError, OSError):
            self.release()

    def _swap(self, after: bytes) -> bool:
        info = self._store.info(self._object)
        held = _parsed(_read(self._store, self._object))
        if info is None or held is None or held.holder != self.holder:
            return False
        return self._store.compare_and_swap(self._object, after, info.generation)

    def _text(self) -> bytes:
        return _content(self.holder, self._ttl_seconds, self._renewals)


class KeptLease:
    """A job's lease that a thread renews until the `with` block ends.

    Args:
        store: that all runs of the job share.
        name: of the job.
        ttl_seconds: so long after this process has died the next run may start.
        remember: a file that no two runs use at a time, which names the holder; a run that finds another's name in
            it knows that he has died.

    Raises:
        LeaseHeld: on entering; another run is at work.
    """

    def __init__(
        self, store: ObjectStore, name: str, ttl_seconds: float = LEASE_SECONDS, remember: Path | None = None
    ) -> None:
        self._store, self._name, self._ttl_seconds, self._remember = store, name, ttl_seconds, remember
        self._ended, self._one_at_a_time = threading.Event(), threading.Lock()

    def check(self) -> None:
        """Renews it, and raises LeaseHeld where another run has taken over; call it before what only one may do."""
        with self._one_at_a_time:
            self._lease.renew()

    def __enter__(self) -> Self:
        known = self._remember
        dead = known.read_text() if known is not None and known.is_file() else ""
        self._lease = JobLease.acquire(self._store, self._name, self._ttl_seconds, dead)
        if known is not None:
            known.parent.mkdir(parents=True, exist_ok=True)
            write_file(known, self._lease.holder.encode())
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._lease.__exit__(kind, error, _)
        if self._remember is not None:
            self._remember.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._ended.wait(self._ttl_seconds / 3):
            # A store that does not answer for a moment: two more tries come before the time is over. A lease that
            # another run has taken is found again by `check`.
            with contextlib.suppress(RuijiError, OSError):
                self.check()


@dataclass(frozen=True)
class _Lease:
    holder: str
    ttl_seconds: float


def _content(holder: str, ttl_seconds: float, renewals: int = 0) -> bytes:
    content: dict[str, Any] = {"holder": holder, "ttl_seconds": ttl_seconds, "renewals": renewals}
    return json.dumps(content, sort_keys=True).encode()


def _parsed(data: bytes | None) -> _Lease | None:
    """Null for what is no lease, or one that was released."""
    try:
        content = json.loads(data or b"")
        return _Lease(str(content["holder"]), float(content["ttl_seconds"]))
    except (ValueError, KeyError, TypeError):
        return None


def _read(store: ObjectStore, name: str) -> bytes | None:
    try:
        return store.read(name)
    except NotFound:
        return None
