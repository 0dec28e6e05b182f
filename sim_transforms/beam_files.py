"""Files of gs://, s3://, hdfs:// and azfs://, by Beam's file systems: what the room `media` is handed for remote uris.

Beam is imported at the first remote uri, so that a catalog on this machine's disk does not wait for it.
"""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim_transforms.errors import MediaError, RuijiError, one_line
from sim_transforms.media.remote import FileStatus

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

_CHUNK = 16 * 2**20
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class BeamFiles:
    """A `media.remote.RemoteFiles`; which schemes it reads depends on the packages that are installed.

    Args:
        options: gives the pipeline options that file systems need, where Beam has not been told them yet: workers
            are told theirs, the machine that launches a job is not.
    """

    def __init__(self, options: "Callable[[], PipelineOptions] | None" = None) -> None:
        self._options = options
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()

    def reads(self, uri: str) -> bool:
        """Whether Beam has a file system for the uri's scheme."""
        import apache_beam.io.filesystems  # noqa: F401 (makes them known)
        from apache_beam.io.filesystem import FileSystem

        scheme = uri.partition("://")[0]
        return any(system.scheme() == scheme for system in FileSystem.get_all_subclasses())

    def prepare(self, uri: str) -> None:
        """Makes the client of the uri's scheme; raises MediaError."""
        with _media_errors():
            self._system(uri)

    def status(self, uri: str) -> FileStatus | None:
        """Of a file, null where there is none; raises MediaError (forbidden, unreadable, bad_uri)."""
        try:
            with _media_errors():
                return _status(self._system(uri).metadata(uri))
        except MediaError as error:
            if error.reason == "missing":
                return None
            raise

    def list(self, folder: str, most: int | None = None) -> dict[str, FileStatus]:
        """Uri and status of all files below a folder; raises MediaError as `RemoteFiles.list` says."""
        with _media_errors():
            system = self._system(folder)
            if system.has_dirs():
                scheme = folder.partition("://")[0]
                raise MediaError("unlistable", f"Beam lists no sub-folders of {scheme}://; a table is expected")
            # No pattern can quote `[`, `*` and `?`; `?` stands for any one of them, and what else it fits is left out.
            pattern = re.sub(r"[\[*?]", "?", folder) + "/**"
            found = system.match([pattern], [None if most is None else most + 1])[0].metadata_list
        if most is not None and len(found) > most:
            raise MediaError("unlistable", f"more than {most:,} files lie below {folder}/")
        files = (entry for entry in found if entry.path.startswith(folder + "/") and not entry.path.endswith("/"))
        return {entry.path: _status(entry) for entry in files}

    def fetch(self, uri: str, path: Path, most_bytes: int | None) -> None:
        """Writes a file's content to `path`; raises as `RemoteFiles.fetch` says."""
        with path.open("wb") as target:
            for chunk in self._chunks(uri, most_bytes):
                target.write(chunk)

    def _chunks(self, uri: str, most_bytes: int | None) -> Iterator[bytes]:
        from apache_beam.io.filesystem import CompressionTypes

        with (
            _media_errors(),
            contextlib.closing(self._system(uri).open(uri, compression_type=CompressionTypes.UNCOMPRESSED)) as file,
        ):
            # Opening has asked for the size; finding the end costs no request.
            left = file.seek(0, os.SEEK_END)
            if most_bytes is not None and left > most_bytes:
                raise MediaError("too_large", f"the file holds {left:,} bytes; at most {most_bytes:,}")
            file.seek(0)
            while left:
                chunk = file.read(min(left, _CHUNK))
                if not chunk:
                    raise MediaError("unreadable", f"the file came without its last {left:,} bytes")
                left -= len(chunk)
                yield chunk

    def _system(self, uri: str) -> Any:
        """The file system of a uri's scheme."""
        from apache_beam.io.filesystems import FileSystems

        scheme = uri.partition("://")[0]
        with self._lock:
            if self._options is not None:
                FileSystems.set_options(self._options())
                self._options = None
            if scheme not in self._opened:
                self._opened[scheme] = _keep_client(FileSystems.get_filesystem(uri))
            return self._opened[scheme]


def _keep_client(system: Any) -> Any:
    """Lets Beam's file system of gs:// use one client: it makes one a request, whose TLS context costs 40 ms of CPU."""
    if system.scheme() == "gs":
        client = system._gcsIO()
        system._gcsIO = lambda: client
    return system


def _status(entry: Any) -> FileStatus:
    """Of Beam's metadata; the time to the microsecond, which is as fine as its float holds."""
    return FileStatus(entry.size_in_bytes, round(entry.last_updated_in_seconds * 1e6) * 1000)


@contextlib.contextmanager
def _media_errors() -> Iterator[None]:
    """File systems raise what the libraries below them do, which have no error in common."""
    try:
        yield
    except RuijiError:
        raise
    except Exception as error:
        raise _media_error(error) from error


def _media_error(error: Exception) -> MediaError:
    causes = getattr(error, "exception_details", None)  # a BeamIOError
    if causes:
        return _media_error(next(iter(causes.values())))
    text = one_line(error, 500)
    code = getattr(error, "code", None)
    if isinstance(error, FileNotFoundError) or code == HTTPStatus.NOT_FOUND or "not found" in text.lower():
        return MediaError("missing", "there is no such file")
    if isinstance(error, PermissionError) or code in _DENIED:
        return MediaError("forbidden", f"the file may not be read: {text}")
    if isinstance(error, ValueError):
        return MediaError("bad_uri", text)
    return MediaError("unreadable", f"the file cannot be read: {text}")
