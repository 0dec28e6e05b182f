"""Remote media for the decoder: fetched by a few threads while others are decoded, each into a file of its own.

The decoder's process is given paths of this machine alone, and the time that it may take does not count the network.
"""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, TypeVar

from sim_transforms.errors import MediaError
from sim_transforms.media.image import read_media
from sim_transforms.media.parts import MAX_FILE_BYTES
from sim_transforms.media.remote import RemoteFiles, is_remote, local_copy

T = TypeVar("T")

# Files that are on their way or wait for the decoder, which asks for as many more ahead (`guard`).
_AHEAD = 8
# Fetches that are given up may go on until the network lets them go; so many are there at once, those included.
_MOST_THREADS = 32


def read_anywhere(uri: str, files: RemoteFiles, most_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Content of a media file, wherever it lies; raises MediaError as `read_media` and `RemoteFiles.fetch` do."""
    if not is_remote(uri):
        return read_media(uri, most_bytes)
    with local_copy(uri, files, most_bytes) as copy:
        return read_media(str(copy), most_bytes)


class _Fetch:
    """One file on its way.

    Attributes:
        path: where it comes to lie.
        error: why it does not.
        failure: what is no fault of the file: the disk is full, for one.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.ends = path, time.monotonic() + seconds
        self.error: MediaError | None = None
        self.failure: Exception | None = None
        self.done = threading.Event()


class FetchAhead(Sequence[str]):
    """Local paths of files, in order: of this machine's own files as they are, of remote ones once they have come.

    A context manager: the fetched files lie in a private temporary folder that goes with it. Whoever walks over the
    paths hands what it makes of each through `results`, which says where a file did not come, and deletes it.

    Args:
        uris: of the files.
        files: where remote ones lie.
        seconds: that one may take to come.
        most_bytes: larger ones are refused.
    """

    def __init__(
        self, uris: Sequence[str], files: RemoteFiles, seconds: float, most_bytes: int = MAX_FILE_BYTES
    ) -> None:
        self._uris, self._files, self._seconds, self._most_bytes = uris, files, seconds, most_bytes
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._fetches: dict[int, _Fetch] = {}
        self._started, self._closed = 0, False
        self._slots = threading.BoundedSemaphore(_MOST_THREADS)

    def __enter__(self) -> Self:
        schemes = {uri.partition("://")[0]: uri for uri in self._uris if is_remote(uri)}
        for uri in schemes.values():
            # Else the time that credentials take would count against the first files; what fails here fails each file.
            with contextlib.suppress(MediaError):
                self._files.prepare(uri)
        if schemes:
            self._folder = tempfile.TemporaryDirectory(prefix="ruiji-media-", ignore_cleanup_errors=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._closed = True
        if self._folder is not None:
            self._folder.cleanup()

    def __len__(self) -> int:
        return len(self._uris)

    def __getitem__(self, place: Any) -> Any:
        """Path of the file at one place; waits for it. Where it does not come, a path at which there is nothing."""
        if self._folder is None or not is_remote(self._uris[place]):
            return self._uris[place]
        while self._started < min(place + _AHEAD, len(self._uris)):
            self._start(self._started, Path(self._folder.name))
            self._started += 1
        fetch = self._fetches[place]
        if not fetch.done.wait(max(0.0, fetch.ends - time.monotonic())) and fetch.error is None:
            fetch.error = self._timeout()
        if fetch.failure is not None:
            raise fetch.failure
        return str(fetch.path if fetch.error is None else fetch.path.with_name("nothing"))

    def results(self, found: Iterable[T]) -> Iterator[T | MediaError]:
        """What was made of each path, in their order, or why its file did not come."""
        for place, result in enumerate(found):
            fetch = self._fetches.pop(place, None)
            if fetch is None:
                yield result
                continue
            fetch.path.unlink(missing_ok=True)
            yield fetch.error or result

    def _timeout(self) -> MediaError:
        return MediaError("timeout", f"fetching took longer than {self._seconds:g} s")

    def _start(self, place: int, folder: Path) -> None:
        uri = self._uris[place]
        if not is_remote(uri):
            return
        suffix = PurePosixPath(uri).suffix
        name = f"{place:08d}" + (suffix if suffix[1:].isalnum() and len(suffix) <= 10 else "")
        fetch = self._fetches[place] = _Fetch(folder / name, self._seconds)
        if not self._slots.acquire(timeout=self._seconds):
            fetch.error = self._timeout()
            fetch.done.set()
            return
        # A daemon: a network that hangs must not keep the worker from ending.
        threading.Thread(target=self._fetch, args=(uri, fetch), daemon=True).start()

    def _fetch(self, uri: str, fetch: _Fetch) -> None:
        try:
            self._files.fetch(uri, fetch.path, self._most_bytes)
        except MediaError as error:
            fetch.error = error
        except Exception as error:  # raised where the file is waited for
            fetch.failure = error
        finally:
            if self._closed:  # it may have come between the folder and its removal
                shutil.rmtree(fetch.path.parent, ignore_errors=True)
            self._slots.release()
            fetch.done.set()
