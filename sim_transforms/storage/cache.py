"""Files of remote versions on this machine, each kept once however many versions hold it.

    <root>/files/<key>          a file; the key is made of its checksums, its time is when it was last opened
    <root>/versions/<id>/...    an open version: hard links into files/, and `.in-use`, locked while it is open
    <root>/incoming/<key>       a download that is under way
    <root>/.lock, locks/        locks of the bookkeeping and of the downloads; they die with their process

Versions that are not open lose their links when room is needed, so that a file is in use exactly when it has a second
link. Not for stores that lie on this machine: their files are opened in place.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.records.manifests import FileEntry, IndexFile, VersionManifest
from sim_transforms.storage.checksums import crc32c_of, file_entry, index_file
from sim_transforms.storage.object_store import ObjectStore, name_parts
from sim_transforms.storage.versions import INDEX, file_entries, object_name, search_entries

# Some five merged versions of ten million vectors of dimension 128.
DEFAULT_BYTES = 32 * 2**30
# Cached files up to this size are compared with their checksum each time they are taken, larger ones by size.
_CHECKED_BYTES = 64 * 2**20
_IN_USE = ".in-use"


def default_root() -> Path:
    """`ruiji` in the user's cache folder."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "ruiji"


@dataclass(frozen=True)
class _Wanted:
    """A file of a version; `index`: it is index.hnsw, described by its parts."""

    entry: FileEntry
    index: IndexFile | None

    @property
    def key(self) -> str:
        parts = "".join(f" {p.offset} {p.size_bytes} {p.sha256}" for p in self.index.parts) if self.index else ""
        text = f"{self.entry.size_bytes} {self.entry.crc32c} {self.entry.sha256}{parts}"
        return hashlib.sha256(text.encode()).hexdigest()

    def looks_whole(self, path: Path) -> bool:
        """Whether a file that was checked when it came is still there and the same."""
        try:
            if path.stat().st_size != self.entry.size_bytes:
                return False
            return self.entry.size_bytes > _CHECKED_BYTES or crc32c_of(path) == self.entry.crc32c
        except FileNotFoundError:  # never here, or removed for another process's room just now
            return False

    def check(self, path: Path, source: str) -> None:
        """Compares every checksum; raises DamagedArtefact."""
        found = file_entry(path.parent, path.name)
        expected = (self.entry.size_bytes, self.entry.crc32c)
        same = (found.size_bytes, found.crc32c) == expected and self.entry.sha256 in ("", found.sha256)
        if same and self.index is not None:
            same = index_file(path, [part.size_bytes for part in self.index.parts]) == self.index
        if not same:
            raise DamagedArtefact(f"{source} differs from its manifest; look at it with `ruiji versions verify`")


class HeldVersion:
    """A version's folder in the cache, which stays until `release`, or until the process ends."""

    def __init__(self, path: Path, lock: int) -> None:
        """Takes over the descriptor `lock`."""
        self.path = path
        self._lock: int | None = lock

    def release(self) -> None:
        """Lets the files go when room is needed; may be called again."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class VersionCache:
    """A cache folder; any number of threads and processes may share it.

    Args:
        root: of the cache; made with the first use.
        limit_bytes: of all files together. Files in use are never removed, so that a version that is larger is held
            all the same, alone.
    """

    def __init__(self, root: Path | None = None, limit_bytes: int = DEFAULT_BYTES) -> None:
        """The user's cache folder where no root is given."""
        self._root = (root or default_root()).absolute()
        self._limit_bytes = limit_bytes

    def hold(
        self, store: ObjectStore, version: str, manifest: VersionManifest, *, with_page: bool = False
    ) -> HeldVersion:
        """Downloads what is not here yet, compares checksums, and holds the folder of the version.

        Args:
            store: that holds the version.
            version: its id.
            manifest: of it.
            with_page: bring the files of its page too, which a search does not need.

        Raises:
            NotFound: a file is missing in the store.
            DamagedArtefact: a file differs from the manifest.
            UsageError: the cache folder cannot be used.
        """
        try:
            held = self._opened(version)
            try:
                for entry in file_entries(manifest) if with_page else search_entries(manifest):
                    index = manifest.index if entry.name == INDEX else None
                    self._bring(store, version, _Wanted(entry, index), held.path)
                with self._locked():
                    self._make_room(0)
            except BaseException:
                held.release()
                raise
        except OSError as error:
            raise UsageError(f"cache {self._root}: {error}; free space, or give another folder (--cache)") from error
        return held

    def _opened(self, version: str) -> HeldVersion:
        (name,) = name_parts(version)
        folder = self._root / "versions" / name
        with self._locked():
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT)
            fcntl.flock(lock, fcntl.LOCK_SH)
        return HeldVersion(folder, lock)

    def _bring(self, store: ObjectStore, version: str, wanted: _Wanted, folder: Path) -> None:
        """Puts a file of a held version into its folder, from here or from the store."""
        target = folder.joinpath(*name_parts(wanted.entry.name))
        source, key = object_name(version, wanted.entry.name), wanted.key
        with _lock_of(self._stripe(key)):
            if self._linked(wanted, target):
                return
            with self._locked():
                self._make_room(wanted.entry.size_bytes)
            incoming = self._incoming / key
            try:
                store.download(source, incoming)
                wanted.check(incoming, f"{store.url}/{source}")
                with self._locked():
                    self._files.mkdir(exist_ok=True)
                    os.replace(incoming, self._files / key)
                    _link(self._files / key, target)
            finally:
                incoming.unlink(missing_ok=True)

    def _linked(self, wanted: _Wanted, target: Path) -> bool:
        file = self._files / wanted.key
        if not wanted.looks_whole(file):
            return False
        with self._locked():
            if not file.is_file():  # removed for another process's room meanwhile
                return False
            os.utime(file)
            _link(file, target)
        return True

    def _make_room(self, more_bytes: int) -> None:
        """Removes files that are not in use, least recently used first, until `more_bytes` fit. Under the lock."""
        self._incoming.mkdir(exist_ok=True)
        self._clear_incoming()
        files = sorted(((f, f.stat()) for f in _entries(self._files)), key=lambda found: found[1].st_mtime_ns)
        room = self._limit_bytes - more_bytes - sum(status.st_size for _, status in files)
        room -= sum(_size(file) for file in _entries(self._incoming))
        if room >= 0:
            return
        self._close_idle_versions()
        for file, status in files:
            if room < 0 and file.stat().st_nlink == 1:
                file.unlink()
                room += status.st_size

    def _close_idle_versions(self) -> None:
        for folder in _entries(self._root / "versions"):
            with _lock_of(folder / _IN_USE, wait=False) as is_idle:
                if is_idle:
                    shutil.rmtree(folder)

    def _clear_incoming(self) -> None:
        """Removes what killed downloads left; the temporary name of a download ends with its key."""
        for file in _entries(self._incoming):
            with _lock_of(self._stripe(file.name.rpartition("-")[2]), wait=False) as is_left:
                if is_left:
                    file.unlink(missing_ok=True)

    @property
    def _files(self) -> Path:
        return self._root / "files"

    @property
    def _incoming(self) -> Path:
        return self._root / "incoming"

    def _stripe(self, key: str) -> Path:
        return self._root / "locks" / key[:2]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with _lock_of(self._root / ".lock"):
            yield


@contextmanager
def _lock_of(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock of a file, which is made for it; gives whether it was free, always true where one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _link(file: Path, target: Path) -> None:
    """Makes `target` a link to `file`, over whatever it was. Under the lock."""
    if target.exists() and target.samefile(file):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{target.name}")
    temporary.unlink(missing_ok=True)
    os.link(file, temporary)
    os.replace(temporary, target)


def _size(file: Path) -> int:
    """Bytes of a download under way, which may end meanwhile, because downloads hold other locks."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
