"""A store in a folder of this machine (or of a file system that is mounted here and knows locks)."""

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.storage.checksums import crc32c_of
from sim_transforms.storage.files import FileRange, replace_file, sync, write_file
from sim_transforms.storage.object_store import ObjectInfo, name_parts

_LOCK = ".lock"
_BLOCK = 4 * 2**20


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
        return self._existing(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Writes by temporary name, sync and rename."""
        write_file(self._prepared(name), data)

    def upload(self, path: Path, name: str, offset: int = 0, size_bytes: int | None = None) -> None:
        """Copies a file or a range of it by temporary name, sync and rename."""
        with replace_file(self._prepared(name)) as temporary:
            if offset == 0 and size_bytes is None:
                shutil.copyfile(path, temporary)
                return
            with FileRange(path, offset, size_bytes) as source, temporary.open("wb") as out:
                while block := source.read(_BLOCK):
                    out.write(block)

    def download(self, name: str, path: Path) -> None:
        """Copies an object to `path`, whole or not at all."""
        with replace_file(path) as temporary:
            shutil.copyfile(self._existing(name), temporary)

    def info(self, name: str) -> ObjectInfo | None:
        """Size, time and generation of an object, or null."""
        path = self._path(name)
        if not path.is_file():
            return None
        status = path.stat()
        generation = (
            hashlib.sha256(path.read_bytes()).hexdigest() if status.st_size < 2**20 else str(status.st_mtime_ns)
        )
        return ObjectInfo(name, status.st_size, status.st_mtime, generation)

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Objects below the last whole folder of `prefix`."""
        start = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self._root
        names = (p.relative_to(self._root).as_posix() for p in start.rglob("*") if p.is_file())
        shown = [n for n in names if n.startswith(prefix) and not any(part.startswith(".") for part in n.split("/"))]
        found = (self.info(name) for name in sorted(shown))
        return [entry for entry in found if entry is not None]

    def delete(self, name: str) -> None:
        """Removes an object, and its folder where that is left empty; raises NotFound."""
        path = self._existing(name)
        path.unlink()
        sync(path.parent)
        if path.parent != self._root and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Compares and writes under a lock that dies with its process."""
        path = self._prepared(name)
        with self._locked():
            current = self.info(name)
            if (current.generation if current else None) != expected:
                return False
            write_file(path, data)
            return True

    def compose(self, names: Sequence[str], target: str, crc32c: str | None = None) -> None:
        """Concatenates by temporary name, check, sync and rename."""
        if not names:
            raise UsageError(f"{self.url}: {target} cannot be put together from no objects")
        sources = [self._existing(name) for name in names]
        with replace_file(self._prepared(target)) as temporary:
            with temporary.open("wb") as out:
                for source in sources:
                    with source.open("rb") as file:
                        shutil.copyfileobj(file, out, _BLOCK)
            if crc32c is not None and (found := crc32c_of(temporary)) != crc32c:
                raise DamagedArtefact(
                    f"{self.url}: the parts of {target} together have the CRC32C {found}; {crc32c} is expected"
                )

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

    def _existing(self, name: str) -> Path:
        path = self._path(name)
        if not path.is_file():
            raise NotFound(f"{self.url} holds no {name}")
        return path

    def _prepared(self, name: str) -> Path:
        path = self._path(name)
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            sync(path.parent.parent)
        return path
