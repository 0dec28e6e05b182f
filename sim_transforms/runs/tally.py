"""How far a job is, while its workers run: each part of the work keeps a number in a file, the command adds them up.

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
        self._count, self._written = 0, 0.0

    def add(self, items: int = 1) -> None:
        """Counts items; the file follows within half a second of work."""
        self._count += items
        if self._path and time.monotonic() - self._written >= _EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the number as it is."""
        if not self._path:
            return
        self._written = time.monotonic()
        # Of one length, in one write: whoever reads meanwhile sees the old number or the new one.
        with contextlib.suppress(OSError), open(self._path, "wb", buffering=0) as file:
            file.write(f"{self._count:0{_DIGITS}d}".encode())


def tallied(folder: Path) -> int:
    """Sum of all parts."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError, ValueError):
                total += int(Path(entry.path).read_bytes() or b"0")
    return total


@contextmanager
def watched(folder: Path, total: int, show: Callable[[int, int], None]) -> Iterator[str]:
    """Makes the folder for tallies, and tells of them every second; at the end that all is done, where nothing failed.

    Args:
        folder: to make.
        total: items of the job.
        show: called with the items done and `total`, from a thread.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(1.0):
            if (done := tallied(folder)) < total:
                show(done, total)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield str(folder)
    finally:
        ended.set()
        thread.join()
    show(total, total)
