"""A file system `shelf://` in memory, which counts what it is asked and does as it is told."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sim_transforms.errors import MediaError
from sim_transforms.media.remote import FileStatus


class Shelf:
    """Files by uri; `held` is called before a file is fetched."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: Counter[str] = Counter()
        self.held: Callable[[str], object] = lambda uri: None
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()

    def reads(self, uri: str) -> bool:
        return uri.startswith("shelf://")

    def prepare(self, uri: str) -> None:
        self.asked["prepare"] += 1

    def status(self, uri: str) -> FileStatus | None:
        self.asked["status"] += 1
        return self._status(uri) if uri in self.files else None

    def list(self, folder: str, most: int | None = None) -> dict[str, FileStatus]:
        self.asked["list"] += 1
        found = {uri: self._status(uri) for uri in self.files if uri.startswith(folder + "/")}
        if most is not None and len(found) > most:
            raise MediaError("unlistable", "there are more")
        return found

    def fetch(self, uri: str, path: Path, most_bytes: int | None) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self.held(uri)
            if uri not in self.files:
                raise MediaError("missing", "there is no such file")
            path.write_bytes(self.files[uri])
        finally:
            with self._lock:
                self._at_once -= 1

    def _status(self, uri: str) -> FileStatus:
        return FileStatus(len(self.files[uri]), sum(self.files[uri]))
