"""Processes that a test starts: each with a log of its own, waits that end, and an end for every one of them."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LAST_LINES = 40
_STOP_SECONDS = 10.0


class Service:
    """A process in a group of its own, which ends with the test.

    Args:
        name: of its log, `<folder>/<name>.log`.
        command: to run.
        folder: of the log.
        environment: of the process; this process's own where not given.
    """

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts it."""
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self.process.pid

    def wait_for(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Waits; raises RuntimeError with the end of the log where the process ends, or the time does."""
        ends = time.monotonic() + seconds
        while not _holds(is_ready):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.last_lines()}")
            if time.monotonic() > ends:
                raise RuntimeError(f"{self.name} is not ready after {seconds:.0f} s:\n{self.last_lines()}")
            time.sleep(0.1)

    def last_lines(self) -> str:
        """The end of the log, which failures show."""
        return last_lines(self.log)

    def kill(self) -> None:
        """Ends the whole group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(_STOP_SECONDS)

    def stop(self) -> None:
        """Asks it to end, and ends the group where it does not."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        self.kill()


def last_lines(log: Path) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def _holds(is_ready: Callable[[], bool]) -> bool:
    try:
        return is_ready()
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port of this machine."""
    with socket.create_connection(("localhost", port), timeout=1.0):
        return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
