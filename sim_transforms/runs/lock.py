"""One run at a time in a working directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim_transforms.errors import RuijiError


@contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Holds the working directory; the lock dies with its process.

    Raises:
        RuijiError: another run holds it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise RuijiError(
                f"{workdir} is in use by another run (process {holder}); wait for it, or end it"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
