"""Decodes files in a process of its own, so that no file can stop, kill or fill the worker.

The child (`decode_child.py`) answers in the order in which it was asked. An answer that does not come in time, or a
child that ends, is the fault of the file whose answer is next: that one is rejected, and a new child goes on with the
others. A hung read of a mounted file system ends the same way.
"""

import contextlib
import fcntl
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
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

# Files asked for ahead, so that the child never waits.
_AHEAD = 32
_OUT_OF_MEMORY = "out_of_memory"
# What of its answers may wait, so that neither waits for the other: the most that Linux gives without being asked.
_PIPE_BYTES = 2**20
# Shared memory for media of one part, unless their slots would take more.
_MOST_SHARED = 32 * 2**20


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
        self._unread = _Unread()
        self._slots = _Slots(shape.item_bytes)
        self._answers = 0
        self._asked: deque[int] = deque()
        self._room_bytes = 0

    def decode(self, uris: Sequence[str]) -> Iterator[Decoded | MediaError]:
        """Reads and decodes files; one result each, in their order."""
        asked = 0
        for place in range(len(uris)):
            found = None
            while found is None:
                # Where nothing is asked, that it has ended is no file's fault.
                if self._child is None or (asked <= place and self._child.poll() is not None):
                    self.close()
                    asked = place
                    self._start()
                while asked < len(uris) and self._ask(uris[asked]):
                    asked += 1
                served = self._answers
                found = self._result()
                if isinstance(found, MediaError) and found.reason == _OUT_OF_MEMORY:
                    # What the child holds may be of the files before: a new one has the whole of its bound.
                    self.close()
                    found = None if served else found
            yield found

    def close(self) -> None:
        """Ends the child, whatever it does."""
        child, self._child = self._child, None
        self._unread.clear()
        self._asked.clear()
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

    def end(self) -> None:
        """Ends the child and gives its memory back, for good."""
        self.close()
        self._slots.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end()

    def _start(self) -> None:
        told = {"shape": to_plain(self._shape), "seconds": self._bounds.seconds, "memory": self._bounds.memory_bytes}
        told["slots"] = self._slots.told
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}
        command = [sys.executable, "-m", self._program, json.dumps(told)]
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C is the parent's, and whatever the child starts ends with it.
        self._child = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            bufsize=0,
            env=environment,
            start_new_session=True,
            pass_fds=self._slots.descriptors,
        )
        assert self._child.stdout is not None
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # a user's pipes may be many already
            fcntl.fcntl(self._child.stdout.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._room_bytes = fcntl.fcntl(self._child.stdin.fileno(), fcntl.F_GETPIPE_SZ)
        self._answers = 0
        # The start of Python is not the first file's fault.
        if self._line(60.0) != STARTED:
            self.close()
            raise RuntimeError(f"{' '.join(command[:3])} did not start; its messages stand above")

    def _ask(self, uri: str) -> bool:
        """False where the file has to wait, since writing must never wait for a child that does, or where the child has
        ended; what it has answered before is still read."""
        assert self._child is not None
        assert self._child.stdin is not None
        line, waiting = json.dumps(uri, ensure_ascii=False).encode(errors="surrogatepass") + b"\n", sum(self._asked)
        if waiting and (len(self._asked) >= _AHEAD or waiting + len(line) > self._room_bytes):
            return False
        try:
            self._child.stdin.write(line)
        except BrokenPipeError:
            return False
        self._asked.append(len(line))
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
        self._asked.popleft()
        if "reason" in answer:
            return MediaError(answer["reason"], answer["message"])
        parts = []
        for start in answer["starts"]:
            slot = answer.get("slot")
            media = self._slots.content(slot) if slot is not None else self._take(answer["bytes"], self._bounds.seconds)
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
        while (line := self._unread.line()) is None:
            if not self._fill(ends):
                return None
        return line

    def _take(self, count: int, seconds: float) -> bytes | None:
        ends = time.monotonic() + seconds
        while (taken := self._unread.take(count)) is None:
            if not self._fill(ends):
                return None
        return taken

    def _fill(self, ends: float) -> bool:
        """Reads what is there; false where the child has ended or the time is over."""
        assert self._child is not None
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        ready = poll.poll(max(0.0, ends - time.monotonic()) * 1000)
        return bool(ready) and self._unread.fill(descriptor)


class _Slots:
    """Shared memory in which the child lays media that are one part, a slot each, so that they go through no pipe.

    A file's slot is used again when as many files as there are slots have been asked for after it. Of at most `_AHEAD`
    files that are asked for and not answered each has another slot of `_AHEAD + 1`, and one is copied as soon as its
    answer is read. Where the system has no such memory, or the media are large, there are none.
    """

    def __init__(self, item_bytes: int) -> None:
        self._bytes = item_bytes
        self._memory: mmap.mmap | None = None
        self._release: weakref.finalize[Any, Any] | None = None
        self.told: dict[str, int] | None = None
        self.descriptors: tuple[int, ...] = ()
        count = _AHEAD + 1
        if hasattr(os, "memfd_create") and count * item_bytes <= _MOST_SHARED:
            # Sandboxes and limits may refuse it.
            with contextlib.suppress(OSError):
                self._open(count)

    def _open(self, count: int) -> None:
        with contextlib.ExitStack() as stack:
            descriptor = os.memfd_create("ruiji-decoded")
            stack.callback(os.close, descriptor)
            os.ftruncate(descriptor, count * self._bytes)
            self._memory = mmap.mmap(descriptor, count * self._bytes)
            # Also where nobody ends the decoder: workers are not always told that a job is over.
            self._release = weakref.finalize(self, os.close, descriptor)
            stack.pop_all()
        self.told = {"descriptor": descriptor, "bytes": self._bytes, "count": count}
        self.descriptors = (descriptor,)

    def content(self, slot: int) -> bytes:
        """A copy of what lies in a slot."""
        assert self._memory is not None
        return self._memory[slot * self._bytes : (slot + 1) * self._bytes]

    def close(self) -> None:
        """Gives the memory back."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()
        if self._release is not None:
            self._release()


class _Unread:
    """What a pipe has given and nobody has taken, in one buffer that is used again."""

    def __init__(self) -> None:
        self._data = bytearray(_PIPE_BYTES)
        self._start = self._end = 0

    def clear(self) -> None:
        """Forgets it."""
        self._start = self._end = 0

    def fill(self, descriptor: int) -> bool:
        """Reads what a pipe holds; false at its end."""
        if self._start == self._end:
            self.clear()
        if self._end == len(self._data):
            self._make_room()
        with memoryview(self._data) as whole, whole[self._end :] as free:
            count = os.readv(descriptor, [free])
        self._end += count
        return bool(count)

    def line(self) -> bytes | None:
        """The next line with its end, null where there is no whole one."""
        end = self._data.find(b"\n", self._start, self._end)
        return None if end < 0 else self.take(end + 1 - self._start)

    def take(self, count: int) -> bytes | None:
        """The next bytes, null where there are not so many."""
        if self._end - self._start < count:
            return None
        start, self._start = self._start, self._start + count
        with memoryview(self._data) as whole, whole[start : start + count] as taken:
            return bytes(taken)

    def _make_room(self) -> None:
        """Moves what is there to the front, or doubles the buffer where it is full."""
        if not self._start:
            self._data += bytes(len(self._data))
            return
        self._data[: self._end - self._start] = self._data[self._start : self._end]
        self._start, self._end = 0, self._end - self._start
