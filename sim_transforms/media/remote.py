"""Files of other file systems than this machine's own: what is asked of one, and how its files come here.

This room speaks no Beam: a `RemoteFiles` is handed in by those who do (`beam_files.BeamFiles`). Paths, `file://` and
members of archives never come near it.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from sim_transforms.errors import MediaError
from sim_transforms.media.archive import file_of, is_member

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Files that are asked for one by one, of all folders beside each other, before folders are listed.
_SINGLY = 20
# What one pass may keep of listings, some 300 bytes a file: 1.5 GB of the driver.
_MOST_LISTED = 5_000_000


class FileStatus(NamedTuple):
    """What a file looks like from outside: another content has another size or another time."""

    size_bytes: int
    modified_ns: int


class RemoteFiles(Protocol):
    """File systems that are named by the schemes of uris. Safe to use from several threads."""

    def reads(self, uri: str) -> bool:
        """Whether there is a file system for the uri's scheme."""
        ...

    def prepare(self, uri: str) -> None:
        """Does what the first request of the uri's scheme would wait for: credentials, a client; raises MediaError."""
        ...

    def status(self, uri: str) -> FileStatus | None:
        """Of a file, null where there is none; raises MediaError (forbidden, unreadable, bad_uri)."""
        ...

    def list(self, folder: str, most: int | None = None) -> dict[str, FileStatus]:
        """Uri and status of all files below a folder, also in its sub-folders, in any order.

        Args:
            folder: uri without a slash at its end.
            most: how many may be there; null for no limit.

        Raises:
            MediaError: forbidden, unreadable, bad_uri, or unlistable: there are more, or the file system cannot do it.
        """
        ...

    def fetch(self, uri: str, path: Path, most_bytes: int | None) -> None:
        """Writes a file's content to `path`.

        Args:
            uri: of the file.
            path: in a folder that is there.
            most_bytes: files with more are refused before they are fetched; null for no limit.

        Raises:
            MediaError: missing, forbidden, too_large, truncated, unreadable or bad_uri.
            OSError: `path` cannot be written.
        """
        ...


class LocalOnly:
    """A `RemoteFiles` without file systems."""

    def reads(self, uri: str) -> bool:
        """Nothing is read."""
        return False

    def prepare(self, uri: str) -> None:
        """Raises MediaError."""
        raise _unsupported(uri)

    def status(self, uri: str) -> FileStatus | None:
        """Raises MediaError."""
        raise _unsupported(uri)

    def list(self, folder: str, most: int | None = None) -> dict[str, FileStatus]:
        """Raises MediaError."""
        raise _unsupported(folder)

    def fetch(self, uri: str, path: Path, most_bytes: int | None) -> None:
        """Raises MediaError."""
        raise _unsupported(uri)


LOCAL_ONLY = LocalOnly()


def _unsupported(uri: str) -> MediaError:
    return MediaError("unsupported_uri", f"{uri.split('://')[0]}:// is not read here; a path is expected")


def is_remote(uri: str) -> bool:
    """Whether a uri has a scheme that is neither a file's nor an archive's."""
    return _SCHEME.match(uri) is not None and not uri.startswith("file://") and not is_member(uri)


@contextmanager
def local_copy(uri: str, files: RemoteFiles, most_bytes: int | None = None) -> Iterator[Path]:
    """A file that is gone afterwards, with the content of a remote one; raises as `RemoteFiles.fetch` does."""
    with tempfile.TemporaryDirectory(prefix="ruiji-remote-") as folder:
        copy = Path(folder) / "copy"
        files.fetch(uri, copy, most_bytes)
        yield copy


def local_status(uri: str) -> FileStatus | None:
    """Of a file of this machine, or of the archive that holds a member; null where there is none."""
    try:
        status = os.stat(file_of(uri))
    except (OSError, ValueError):
        return None
    return FileStatus(status.st_size, status.st_mtime_ns)


class Statuses:
    """Statuses of many files: remote folders are listed once instead of asked for each file.

    Where several files of a folder, or of folders beside it, have been asked for, the folder is listed. What a listing
    has shown is not looked at again: an instance serves one pass over a catalog.

    Args:
        files: of the remote ones.
        most_listed: files that it keeps at once; folders that would be more are asked file by file.
    """

    def __init__(self, files: RemoteFiles, most_listed: int = _MOST_LISTED) -> None:
        self._files, self._left = files, most_listed
        self._asked: dict[str, int] = {}
        self._listed: dict[str, dict[str, FileStatus] | None] = {}

    def of(self, uri: str) -> FileStatus | None:
        """Null where there is no such file, or nothing can be said of it."""
        if not is_remote(uri):
            return local_status(uri)
        if not self._files.reads(uri):
            return None
        known = self._listing(uri)
        if known is not None:
            return known.get(uri)
        try:
            return self._files.status(uri)
        except MediaError:
            return None

    def look_below(self, folder: str) -> None:
        """Lists a folder at once, because most of what lies below it will be asked for."""
        try:
            self._listed[folder] = found = self._files.list(folder, self._left)
        except MediaError:
            self._listed[folder] = None
        else:
            self._left -= len(found)

    def _listing(self, uri: str) -> dict[str, FileStatus] | None:
        """A listing that holds the uri if it is there, or null where it is to be asked for by itself."""
        folder = above = uri.rpartition("/")[0]
        while not above.endswith("/"):
            if (known := self._listed.get(above)) is not None:
                return known
            above = above.rpartition("/")[0]
        beside = folder.rpartition("/")[0]
        self._asked[beside] = self._asked.get(beside, 0) + 1
        if folder not in self._listed and self._asked[beside] > _SINGLY:
            self.look_below(folder)
        return self._listed.get(folder)
