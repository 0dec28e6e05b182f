"""The version that is served: LATEST, taken up while requests go on, and left alone where it cannot be opened."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from sim_transforms.errors import DamagedArtefact, ModelMismatch, NotFound, RuijiError, UsageError, one_line
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.lookup.verify import canary_problems

_LOG = logging.getLogger(__name__)
# What fails for good fails of the version; it is tried again all the same, since what lies in a store can be mended.
_FOR_GOOD = (DamagedArtefact, ModelMismatch, NotFound, UsageError)
_AGAIN_SECONDS = 600.0
# A lease lasts 15 minutes.
_RENEW_SECONDS = 240.0


@dataclass(frozen=True)
class State:
    """Attributes:
    taken_up: versions since the service began, the first included.
    refused: version -> why it is not served.
    looked_seconds: since LATEST was last read, or null where that has never succeeded.
    problem: why what answers is not LATEST, "" where it is.
    """

    taken_up: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    looked_seconds: float | None = None
    problem: str = ""


class Served:
    """The version that answers, and the thread that looks for the next.

    A context manager: on entering LATEST is opened, or an error says why it cannot be. Whoever answers a request takes
    `current` once and uses nothing else, so that no answer is made of two versions; the memory of a version that was
    replaced goes with the last request that uses it.

    Args:
        latest: the id of LATEST; null where nothing is published.
        open_version: opens a version with a lease.
        poll_seconds: between looks at LATEST.
    """

    def __init__(
        self, latest: Callable[[], str | None], open_version: Callable[[str], OpenVersion], poll_seconds: float
    ) -> None:
        self._latest, self._open, self._poll_seconds = latest, open_version, poll_seconds
        self._current: OpenVersion | None = None
        self._state = State()
        self._looked = self._renewed = 0.0
        self._tried: dict[str, float] = {}
        self._other: OpenVersion | None = None
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ruiji-latest", daemon=True)

    @property
    def current(self) -> OpenVersion:
        """The version that answers now; take it once a request."""
        assert self._current is not None, "enter the context first"
        return self._current

    def version(self, wanted: str | None) -> OpenVersion:
        """The version that is named, opened where it is not; the one that answers now where none is.

        One other version is held at a time, so that two can be compared; a third takes its place.

        Raises:
            NotFound: no such version.
            DamagedArtefact: it cannot be opened.
        """
        current = self.current
        if wanted is None or wanted == current.version:
            return current
        with self._one_at_a_time:
            if self._other is None or self._other.version != wanted:
                before, self._other = self._other, None
                if before is not None:
                    self._release(before)
                del before
                self._other = self._opened(wanted)
            return self._other

    @property
    def state(self) -> State:
        """What has been taken up and refused."""
        seconds = time.monotonic() - self._looked if self._looked else None
        return replace(self._state, looked_seconds=seconds)

    def __enter__(self) -> Self:
        chosen = self._latest()
        if chosen is None:
            raise NotFound("nothing is published in the store (no LATEST): run `ruiji run` or `ruiji index` first")
        self._take(self._opened(chosen))
        self._looked = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(timeout=10.0)
        self._release(self.current)
        if self._other is not None:
            self._release(self._other)

    def look(self) -> None:
        """Takes LATEST up where it is another version that can be opened; never raises."""
        try:
            chosen = self._latest()
        except (RuijiError, OSError) as error:
            # The version that is open needs no store.
            self._state = replace(self._state, problem=one_line(error))
            return
        self._looked = time.monotonic()
        if chosen is not None and chosen != self.current.version and self._is_due(chosen):
            self._tried[chosen] = time.monotonic()
            try:
                self._take(self._opened(chosen))
            except Exception as error:
                self._refuse(chosen, error)
            else:
                self._tried.clear()
        self._state = replace(self._state, problem=self._problem_with(chosen))

    def _problem_with(self, chosen: str | None) -> str:
        """Why a LATEST that can be read is not what answers; "" where it does."""
        if chosen is None:
            return "the store has no LATEST any more"
        if chosen == self.current.version:
            return ""
        return f"version {chosen} is not served: {dict(self._state.refused).get(chosen, 'it is not whole')}"

    def _is_due(self, version: str) -> bool:
        tried = self._tried.get(version)
        return tried is None or time.monotonic() - tried >= _AGAIN_SECONDS

    def _opened(self, version: str) -> OpenVersion:
        """Opened, and answering as it did when it was published; raises RuijiError."""
        opened = self._open(version)
        problems = canary_problems(opened)
        if problems:
            self._release(opened)
            raise DamagedArtefact(f"version {version}: {problems[0]}")
        return opened

    def _take(self, opened: OpenVersion) -> None:
        before, self._current = self._current, opened
        self._renewed = time.monotonic()
        refused = tuple((version, why) for version, why in self._state.refused if version != opened.version)
        self._state = replace(self._state, taken_up=self._state.taken_up + 1, refused=refused)
        _LOG.info("version %s is served: %s items", opened.version, f"{opened.manifest.items:,}")
        if before is not None:
            self._release(before)

    def _refuse(self, version: str, error: Exception) -> None:
        if not isinstance(error, _FOR_GOOD):
            # The store may answer at the next look.
            self._tried.pop(version)
        others = tuple(entry for entry in self._state.refused if entry[0] != version)
        self._state = replace(self._state, refused=(*others, (version, one_line(error)))[-10:])
        _LOG.error("version %s is not served, %s goes on: %s", version, self.current.version, one_line(error))

    def _release(self, opened: OpenVersion) -> None:
        try:
            opened.close()
        except (RuijiError, OSError) as error:
            _LOG.warning("the lease of version %s ends by itself: %s", opened.version, one_line(error))

    def _watch(self) -> None:
        while not self._ended.wait(self._poll_seconds):
            self._renew()
            self.look()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed < _RENEW_SECONDS:
            return
        for opened in (self.current, self._other):
            if opened is None or opened.lease is None:
                continue
            try:
                opened.lease.renew()
                self._renewed = time.monotonic()
            except (RuijiError, OSError) as error:
                _LOG.warning("the lease of version %s was not renewed: %s", opened.version, one_line(error))
