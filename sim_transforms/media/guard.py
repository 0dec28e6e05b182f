"""Decodes files in a process of its own, so that no file can stop, kill or fill the worker.

The child (`decode_child.py`) answers in the order in which it was asked. An answer that does not come in time, or a
child that ends, is the fault of the file whose answer is next: that one is rejected, and a new child goes on with the
others. A hung read of a mounted file system ends the same way.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from sim_transforms.errors import MediaError
from sim_transforms.media.decode_child import STARTED
from sim_transforms.media.parts import FileFacts, Part, Parts
from sim_transforms.records.codec import to_plain
from sim_transforms.records.media import MediaShape
from sim_transforms.settings.stages import PreprocessSettings

# Asked ahead, so that the child never waits: so many fit into a pipe beside one of any length.
_AHEAD, _SHORT = 8, 1000
_CHUNK = 2**20


@dataclass(frozen=True)
class Decoded:
    """A decoded file.

    Attributes:
        digest: SHA-256 of the file, hexadecimal.
        content: its parts.
    """

    digest: str
    content: Parts


@dataclass(frozen=True)
class Bounds:
    """What one file may take.

    Attributes:
        seconds: to read and decode it.
        memory_bytes: that the child may hold in all, its libraries (some 60 MiB) included.
    """

    seconds: float
    memory_bytes: int


def _fits(uri: str, ahead: int) -> bool:
    """Whether a file may be asked for while `ahead` others are."""
    return not ahead or (ahead < _AHEAD and len(uri) <= _SHORT)


def bounds_of(settings: PreprocessSettings) -> Bounds:
    """Those that a configuration gives."""
    return Bounds(settings.decode_seconds, settings.decode_memory_mib * 2**20)


class GuardedDecoder:
    """A child that decodes; a context manager that starts it when it is needed, and ends it.

    Args:
        shape: of what files are decoded to.
        bounds: of each file.
        program: module of the child.
    """

    def __init__(self, shape: MediaShape, bounds: Bounds, program: str = "sim_transforms.media.decode_child") -> None:
        self._shape, self._bounds, self._program = shape, bounds, program
        self._child: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._answers = 0

    def decode(self, uris: Sequence[str]) -> Iterator[Decoded | MediaError]:
        """Reads and decodes files; one result each, in their order."""
        asked = 0
        for place in range(len(uris)):
            if self._child is None:
                asked = place
                self._start()
            while asked < len(uris) and _fits(uris[asked], asked - place) and self._ask(uris[asked]):
                asked += 1
            yield self._result()

    def close(self) -> None:
        """Ends the child, whatever it does."""
        child, self._child = self._child, None
        self._buffer.clear()
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        # A read that the kernel does not let go of ends with its file system; nobody waits for that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5.0)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        told = {"shape": to_plain(self._shape), "seconds": self._bounds.seconds, "memory": self._bounds.memory_bytes}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}
        command = [sys.executable, "-m", self._program, json.dumps(told)]
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C is the parent's, and whatever the child starts ends with it.
        self._child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, bufsize=0, env=environment, start_new_session=True
        )
        self._answers = 0
        # The start of Python is not the first file's fault.
        if self._line(60.0) != STARTED:
            self.close()
            raise RuntimeError(f"{' '.join(command[:3])} did not start; its messages stand above")

    def _ask(self, uri: str) -> bool:
        """False where the child has ended; what it has answered before is still read."""
        assert self._child is not None
        assert self._child.stdin is not None
        try:
            text = json.dumps(uri, ensure_ascii=False).encode(errors="surrogatepass")
            self._child.stdin.write(text + b"\n")
        except BrokenPipeError:
            return False
        return True

    def _result(self) -> Decoded | MediaError:
        began = time.monotonic()
        line = self._line(self._bounds.seconds)
        if line is None:
            return self._lost(time.monotonic() - began)
        answer: dict[str, Any] = json.loads(line)
        if answer["place"] != self._answers:
            raise RuntimeError(f"the decoder answers file {answer['place']} where {self._answers} is awaited")
        self._answers += 1
        if "reason" in answer:
            return MediaError(answer["reason"], answer["message"])
        parts = []
        for start in answer["starts"]:
            media = self._take(answer["bytes"], self._bounds.seconds)
            if media is None:
                return self._lost(time.monotonic() - began)
            parts.append(Part(start, media))
        return Decoded(answer["digest"], Parts(tuple(parts), answer["skipped"], FileFacts(**answer["facts"])))

    def _lost(self, waited: float) -> MediaError:
        """Why the child gives no answer; it is ended, and the next file gets a new one."""
        child = self._child
        assert child is not None
        if waited >= self._bounds.seconds:
            self.close()
            return MediaError("timeout", f"reading and decoding took longer than {self._bounds.seconds:g} s")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
        self.close()
        code = child.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return MediaError("crashed", f"the decoder's process ended with {how}")

    def _line(self, seconds: float) -> bytes | None:
        """The next line of the child, or null where it ends or does not come in time."""
        ends = time.monotonic() + seconds
        while (end := self._buffer.find(b"\n")) < 0:
            if not self._fill(ends):
                return None
        return self._cut(end + 1)

    def _take(self, count: int, seconds: float) -> bytes | None:
        ends = time.monotonic() + seconds
        while len(self._buffer) < count:
            if not self._fill(ends):
                return None
        return self._cut(count)

    def _cut(self, count: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return taken

    def _fill(self, ends: float) -> bool:
        """Reads what is there; false where the child has ended or the time is over."""
        assert self._child is not None
        assert self._child.stdout is not None
        poll = select.poll()
        poll.register(self._child.stdout, select.POLLIN)
        ready = poll.poll(max(0.0, ends - time.monotonic()) * 1000)
        data = os.read(self._child.stdout.fileno(), _CHUNK) if ready else b""
        self._buffer += data
        return bool(data)
