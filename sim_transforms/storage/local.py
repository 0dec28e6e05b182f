"""A store in a folder of this machine (or of a file system that is mounted here and knows locks)."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.storage.checksums import crc32c_of
from sim_transforms.storage.files import TEMPORARY, FileRange, replace_file, sync
from sim_transforms.storage.object_store import ObjectInfo, name_parts

_LOCK = ".lock"
_BLOCK = 4 * 2**20
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# A folder that another process empties and removes between our making it and our writing into it is made again.
_FOLDER_TRIES = 100


class LocalStore:
    """Objects are files below `root`; what starts with a dot is ours and no object.

    The generation of an object below 1 MiB (LATEST, manifests) is a digest of its content; of a larger one its time.
    """

    def __init__(self, root: str) -> None:
        """The folder is made with the first write."""
        self.url = str(Path(root).absolute())
        self._root = Path(self.url)

    def read(self, name: str) -> bytes:
        """Content of an object; raises NotFound."""
        try:
            return self._path(name).read_bytes()
        except _ABSENT as error:
            raise self._not_found(name) from error

    def write(self, name: str, data: bytes) -> None:
        """Writes by temporary name, sync and rename."""
        self._put(name, lambda temporary: _write(temporary, data))

    def upload(self, path: Path, name: str, offset: int = 0, size_bytes: int | None = None) -> None:
        """Copies a file or a range of it by temporary name, sync and rename."""
        self._put(name, lambda temporary: _copy(path, temporary, offset, size_bytes))

    def download(self, name: str, path: Path) -> None:
        """Copies an object to `path`, whole or not at all."""
        with replace_file(path) as temporary:
            try:
                shutil.copyfile(self._path(name), temporary)
            except _ABSENT as error:
                raise self._not_found(name) from error

    def info(self, name: str) -> ObjectInfo | None:
        """Size, time and generation of an object, or null."""
        try:
            # From one descriptor: the file may be replaced at any moment, and time and digest must be of one.
            with self._path(name).open("rb") as file:
                status = os.fstat(file.fileno())
                small = status.st_size < 2**20
                generation = hashlib.sha256(file.read()).hexdigest() if small else str(status.st_mtime_ns)
        except _ABSENT:
            return None
        return ObjectInfo(name, status.st_size, status.st_mtime, generation)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Objects below the last whole folder of `prefix`."""
        start = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self._root
        names = (path.relative_to(self._root).as_posix() for path in _files(start))
        shown = [n for n in names if n.startswith(prefix) and not any(part.startswith(".") for part in n.split("/"))]
        found = (self.info(name) for name in sorted(shown))
        return [entry for entry in found if entry is not None]

    def delete(self, name: str) -> None:
        """Removes an object, and the folders that are left empty; raises NotFound."""
        path = self._path(name)
        try:
            path.unlink()
        except _ABSENT as error:
            raise self._not_found(name) from error
        self._removed_from(path.parent)

    def unfinished(self) -> tuple[ObjectInfo, ...]:
        """Temporary files of writers that were killed, or are at work; their names are for `discard` alone."""
        found = []
        for path in _files(self._root):
            if path.name.startswith(TEMPORARY):
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    name = path.relative_to(self._root).as_posix()
                    found.append(ObjectInfo(name, status.st_size, status.st_mtime, str(status.st_mtime_ns)))
        return tuple(sorted(found, key=lambda info: info.name))

    def discard(self, name: str) -> None:
        """Removes a temporary file that `unfinished` named; nothing where its writer has finished meanwhile."""
        path = self._root / name
        if not path.name.startswith(TEMPORARY):
            raise UsageError(f"{self.url}: {name} is no temporary file")
        path.unlink(missing_ok=True)
        self._removed_from(path.parent)

    def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Compares and writes under a lock that dies with its process."""
        self._root.mkdir(parents=True, exist_ok=True)
        with self._locked():
            current = self.info(name)
            if (current.generation if current else None) != expected:
                return False
            self.write(name, data)
            return True

    def compose(self, names: Sequence[str], target: str, crc32c: str | None = None) -> None:
        """Concatenates by temporary name, check, sync and rename."""
        if not names:
            raise UsageError(f"{self.url}: {target} cannot be put together from no objects")
        sources = [self._path(name) for name in names]
        for name, source in zip(names, sources, strict=True):
            if not source.is_file():
                raise self._not_found(name)

        def fill(temporary: Path) -> None:
            _join(sources, temporary)
            if crc32c is not None and (found := crc32c_of(temporary)) != crc32c:
                raise DamagedArtefact(
                    f"{self.url}: the parts of {target} together have the CRC32C {found}; {crc32c} is expected"
                )

        self._put(target, fill)

    def local_path(self, name: str) -> Path | None:
        """The file itself."""
        return self._path(name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._root / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*name_parts(name))

    def _not_found(self, name: str) -> NotFound:
        return NotFound(f"{self.url} holds no {name}")

    def _put(self, name: str, fill: Callable[[Path], None]) -> None:
        """Has `fill` write a temporary file beside the object, and renames it."""
        path = self._path(name)
        for left in reversed(range(_FOLDER_TRIES)):
            try:
                self._make_folder(path.parent)
                with replace_file(path) as temporary:
                    fill(temporary)
                return
            except (FileNotFoundError, FileExistsError):
                # Somebody removed the folder because it was empty: before it was used, or between the look of `mkdir`
                # at what is there and its second one.
                if not left:
                    raise

    def _make_folder(self, folder: Path) -> None:
        """Makes a folder and those above it, and syncs what names each, so that none is lost with the power."""
        missing = [f for f in (folder, *folder.parents) if not f.is_dir()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in reversed(missing):
            sync(made.parent)

    def _removed_from(self, folder: Path) -> None:
        """Syncs a folder that has lost a file, and removes it and those above it where they are empty."""
        with contextlib.suppress(FileNotFoundError):
            sync(folder)
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    raise
                return
            folder = folder.parent


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; folders that vanish meanwhile are passed over."""
    for top, _, names in os.walk(folder):
        yield from (Path(top, name) for name in names)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _copy(source: Path, target: Path, offset: int, size_bytes: int | None) -> None:
    if offset == 0 and size_bytes is None:
        shutil.copyfile(source, target)
        return
    with FileRange(source, offset, size_bytes) as file, target.open("wb") as out:
        while block := file.read(_BLOCK):
            out.write(block)


def _join(sources: Sequence[Path], target: Path) -> None:
    with target.open("wb") as out:
        for source in sources:
            with source.open("rb") as file:
                shutil.copyfileobj(file, out, _BLOCK)
