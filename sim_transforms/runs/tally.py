"""How far a job is, while its workers run: each part of the work keeps its numbers in a file, the command adds them up.

For progress only, and only where command and workers share a folder: counts of record are the ledger's. A part that is
worked again writes its own file again.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

Show = Callable[[int, int, int], None]

_EVERY_SECONDS = 0.5
_DIGITS = 20


class Tally:
    """A part's number of finished items.

    Args:
        folder: shared with the command; "" or one that is not there counts nothing.
        part: file name, unique within the job.
    """

    def __init__(self, folder: str, part: str) -> None:
        self._path = os.path.join(folder, part) if folder and os.path.isdir(folder) else ""
        self._count, self._rejected, self._written = 0, 0, 0.0

    def add(self, items: int = 1, rejected: int = 0) -> None:
        """Counts items, and how many of them were rejected; the file follows within half a second of work."""
        self._count += items
        self._rejected += rejected
        if self._path and time.monotonic() - self._written >= _EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the numbers as they are."""
        if not self._path:
            return
        self._written = time.monotonic()
        # Of one length, in one write: whoever reads meanwhile sees the old number or the new one.
        with contextlib.suppress(OSError), open(self._path, "wb", buffering=0) as file:
            file.write(f"{self._count:0{_DIGITS}d} {self._rejected:0{_DIGITS}d}".encode())


class Tallied(NamedTuple):
    """Items that are done, and how many of them were rejected."""

    done: int
    rejected: int


def tallied(folder: Path) -> Tallied:
    """Sums of all parts."""
    done = rejected = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError, ValueError):
                one, other = Path(entry.path).read_bytes().split()
                done, rejected = done + int(one), rejected + int(other)
    return Tallied(done, rejected)


@contextmanager
def watched(folder: Path, total: int, show: Show) -> Iterator[str]:
    """Makes the folder for tallies, and tells of them every second; at the end that all is done, where nothing failed.

    Args:
        folder: to make.
        total: items of the job.
        show: called with the items done, `total`, and the rejected ones, from a thread.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def look() -> None:
        now = tallied(folder)
        if 0 < now.done < total:
            show(now.done, total, now.rejected)

    with looking(look):
        yield str(folder)
    show(total, total, tallied(folder).rejected)


@contextmanager
def looking(look: Callable[[], None], seconds: float = 1.0) -> Iterator[None]:
    """Calls `look` from a thread, every so many seconds for as long as the block runs."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(seconds):
            look()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
