"""Runs a command and watches the memory and the CPU seconds of it and of all processes under it.

Of one process the peak is the kernel's own (VmHWM: resident pages, shared ones counted in full, and no peak between two
looks is missed). In all, the proportional sizes are added (PSS: a page that two processes share counts half in each);
they are read every half second and at each new height of the resident sizes, because reading them stops the process
that is read. A process that ends between two looks loses its last 50 ms of CPU seconds.
"""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
INTERVAL_SECONDS = 0.05
# Where seconds are what is measured: looking every 50 ms takes a tenth of two cores.
SELDOM_SECONDS = 1.0
# Looks for new processes, and reads of proportional sizes.
_REFRESH_SECONDS = 0.5
_WORKER = "sdk_worker_main"


@dataclass(frozen=True)
class Peaks:
    """Peaks in bytes.

    Attributes:
        worker_rss, worker_pss: of the largest Beam SDK worker process; 0 where there was none.
        main_rss, main_pss: of the process that was started: the command and Beam's runner, or a peer.
        all_pss: of the sum over all processes at one time.
        largest_rss: of the largest process, whichever it is.
    """

    worker_rss: int
    worker_pss: int
    main_rss: int
    main_pss: int
    all_pss: int
    largest_rss: int


@dataclass(frozen=True)
class Finished:
    """A command that has ended well.

    Attributes:
        seconds: from start to end, as a user waits.
        cpu_seconds: user and system seconds of all its processes.
        output: its standard output.
        read_bytes, written_bytes: by system calls of all its processes, from and to pipes and sockets too.
    """

    seconds: float
    cpu_seconds: float
    output: str
    peaks: Peaks
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass
class _Seen:
    process: psutil.Process
    worker: bool = False
    rss: int = 0
    pss: int = 0
    cpu: float = 0.0
    read: int = 0
    written: int = 0


class Watch:
    """Peaks of a process and those under it; `look` is called again and again while it runs.

    Args:
        pid: of the process.
        interval_seconds: from look to look; where they are seldom, no proportional sizes are read (they are 0).
    """

    def __init__(self, pid: int, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._every = max(1, round(_REFRESH_SECONDS / interval_seconds))
        self._reads_proportional = interval_seconds < SELDOM_SECONDS
        self._main = psutil.Process(pid)
        self._seen: dict[tuple[int, float], _Seen] = {}
        self._looks, self._highest_rss, self._all_pss = 0, 0, 0

    def look(self) -> None:
        """One look at all processes; those that have ended meanwhile keep what was seen."""
        regular = self._looks % self._every == 0
        if regular:
            self._refresh()
        self._looks += 1
        resident = sum(_resident(seen) for seen in self._seen.values())
        if self._reads_proportional and (regular or resident > 1.01 * self._highest_rss):
            self._all_pss = max(self._all_pss, sum(_proportional(seen) for seen in self._seen.values()))
        self._highest_rss = max(self._highest_rss, resident)

    def peaks(self) -> Peaks:
        """What was seen so far."""
        workers = [s for s in self._seen.values() if s.worker]
        main = [s for s in self._seen.values() if s.process.pid == self._main.pid]
        return Peaks(
            max((s.rss for s in workers), default=0),
            max((s.pss for s in workers), default=0),
            max((s.rss for s in main), default=0),
            max((s.pss for s in main), default=0),
            self._all_pss,
            max((s.rss for s in self._seen.values()), default=0),
        )

    def cpu_seconds(self) -> float:
        """User and system seconds of all processes that were seen."""
        return sum(seen.cpu for seen in self._seen.values())

    def bytes_moved(self) -> tuple[int, int]:
        """(read, written) by system calls of all processes that were seen."""
        return sum(seen.read for seen in self._seen.values()), sum(seen.written for seen in self._seen.values())

    def _refresh(self) -> None:
        with contextlib.suppress(psutil.Error):
            for process in (self._main, *self._main.children(recursive=True)):
                key = (process.pid, process.create_time())
                seen = self._seen.setdefault(key, _Seen(process))
                if not seen.worker and _is_worker(process):
                    # Just after its start a process shows the memory and the name of the one that started it.
                    seen.worker, seen.rss, seen.pss = True, 0, 0


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(_WORKER in word for word in process.cmdline())
    return False


def _resident(seen: _Seen) -> int:
    """Resident bytes now; notes the peak and the CPU seconds. 0 where the process has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        with seen.process.oneshot():
            now, times = int(seen.process.memory_info().rss), seen.process.cpu_times()
        seen.cpu = times.user + times.system
        seen.rss = max(seen.rss, now, _high_water_mark(seen.process.pid))
        with contextlib.suppress(psutil.Error, AttributeError):  # some systems do not tell
            moved = seen.process.io_counters()
            seen.read, seen.written = int(moved.read_chars), int(moved.write_chars)
        return now
    return 0


def _high_water_mark(pid: int) -> int:
    """VmHWM in bytes; 0 on systems without it, and of a process that has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _proportional(seen: _Seen) -> int:
    with contextlib.suppress(psutil.Error, OSError):
        now = int(seen.process.memory_full_info().pss)
        seen.pss = max(seen.pss, now)
        return now
    return 0


def run_measured(
    command: Sequence[str],
    variables: Mapping[str, str] | None = None,
    interval_seconds: float = INTERVAL_SECONDS,
) -> Finished:
    """Runs a command with the checkout's own packages first, and waits for its end.

    Args:
        command: and its arguments.
        variables: of its environment, beside this one's.
        interval_seconds: as `Watch` has it.

    Raises:
        SystemExit: the command has failed; says how it ended and the end of what it said.
    """
    environment = {**os.environ, **(variables or {})}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), environment.get("PYTHONPATH")) if p)
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(list(command), stdout=output, stderr=errors, env=environment)
        watch = Watch(process.pid, interval_seconds)
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(watch, ended, interval_seconds))
        watcher.start()
        try:
            code = process.wait()
            seconds = time.perf_counter() - began
        finally:
            ended.set()
            watcher.join()
        if code:
            raise SystemExit(f"{' '.join(command)} ended with exit code {code}:\n{_text(errors)[-4000:]}")
        return Finished(seconds, watch.cpu_seconds(), _text(output), watch.peaks(), *watch.bytes_moved())


def _watch(watch: Watch, ended: threading.Event, interval_seconds: float) -> None:
    watch.look()
    while not ended.wait(interval_seconds):
        watch.look()


def _text(file: IO[Any]) -> str:
    file.seek(0)
    return str(file.read())
