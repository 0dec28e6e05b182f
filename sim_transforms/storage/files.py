"""Local files that appear whole or not at all."""

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sim_transforms.errors import DamagedArtefact


class FileRange:
    """A byte range of a file as a stream of its own, so that parts of one file can be read side by side."""

    def __init__(self, path: Path, offset: int = 0, size_bytes: int | None = None) -> None:
        """Opens the file; the range goes to its end where no size is given.

        Raises:
            DamagedArtefact: the file ends before the range does.
        """
        there = path.stat().st_size
        self.size_bytes = there - offset if size_bytes is None else size_bytes
        if not 0 <= offset <= there or not 0 <= self.size_bytes <= there - offset:
            raise DamagedArtefact(f"{path} holds {there} bytes; {self.size_bytes} from byte {offset} on were asked for")
        self._path, self._offset, self._place = path, offset, 0
        self._file = path.open("rb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def tell(self) -> int:
        """Bytes from the start of the range."""
        return self._place

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Moves within the range."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size_bytes}[whence]
        self._place = min(max(start + place, 0), self.size_bytes)
        return self._place

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end of the range."""
        left = self.size_bytes - self._place
        wanted = left if size < 0 else min(size, left)
        data = os.pread(self._file.fileno(), wanted, self._offset + self._place)
        if len(data) != wanted:
            raise DamagedArtefact(f"{self._path} was cut short while it was read")
        self._place += wanted
        return data


TEMPORARY = ".tmp-"


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Gives a temporary sibling to write; on success it is synced and renamed to `path`.

    The name keeps its ending, and holds process, thread and chance so that two attempts of one work item do not write
    into each other, on two machines neither; what a killed attempt leaves behind goes with its folder, or by gc.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{threading.get_ident()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


def link_file(source: Path, target: Path) -> None:
    """Gives a file a second name, in place of what stood there; a copy of it where the file system has no links."""
    with replace_file(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def replace_by_copy(source: Path, target: Path) -> None:
    """Puts a copy of a file in place of what stood there."""
    with replace_file(target) as temporary:
        shutil.copyfile(source, temporary)


class EarlyWrites:
    """Has the system write a growing file to its disk while it grows, so that its last sync has little left to do.

    Args:
        descriptor: of the open file, which must stay open within the context.
        every_bytes: that are written to it before the system is asked again.
    """

    def __init__(self, descriptor: int, every_bytes: int = 32 * 2**20) -> None:
        self._descriptor, self._every_bytes, self._new = descriptor, every_bytes, 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread is not None:
            self._thread.join()

    def add(self, count: int) -> None:
        """Says that so many bytes more have been written."""
        self._new += count
        if self._new >= self._every_bytes and (self._thread is None or not self._thread.is_alive()):
            self._new = 0
            self._thread = threading.Thread(target=self._sync, daemon=True)
            self._thread.start()

    def _sync(self) -> None:
        # What cannot be written is said by the last sync.
        with contextlib.suppress(OSError):
            os.fdatasync(self._descriptor)


def sync(path: Path) -> None:
    """Flushes a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
