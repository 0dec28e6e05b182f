"""Stores around a store, for tests of time and of races, and the files of a small version."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim_transforms.errors import RuijiError
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.storage.object_store import ObjectInfo, ObjectStore
from sim_transforms.storage.versions import file_entries, latest, load_manifest, missing_files
from tests.thorough import rounds


def rounds_on(store: ObjectStore, many: int, few: int) -> int:
    """`many` rounds on a disk, `few` on a server, where each takes hundreds of requests, unless all are asked for."""
    return many if store.local_path("LATEST") is not None else rounds(many, few)


def steps(store: ObjectStore) -> Iterator[int]:
    """Numbers of the operations that something is to happen before, until the test has seen enough: every one from 1 on
    where rounds are cheap, else every fourth."""
    return itertools.count(1, rounds_on(store, 1, 4))


@dataclass(frozen=True)
class Made:
    """A folder with the files of a version, and its manifest."""

    folder: Path
    manifest: VersionManifest

    def named(self, name: str, parent: str | None) -> VersionManifest:
        """The manifest of another version of the same files."""
        return replace(self.manifest, catalog=name, parent=parent)


class AroundStore:
    """Hands everything on to a store; `before` is called with the name of each operation."""

    def __init__(self, store: ObjectStore, before: Callable[[str], None] = lambda operation: None) -> None:
        self.inner, self.url, self._before = store, store.url, before

    def read(self, name: str) -> bytes:
        self._before("read")
        return self.inner.read(name)

    def write(self, name: str, data: bytes) -> None:
        self._before("write")
        self.inner.write(name, data)

    def upload(self, path: Path, name: str, *part: Any) -> None:
        self._before("upload")
        self.inner.upload(path, name, *part)

    def download(self, name: str, path: Path) -> None:
        self._before("download")
        self.inner.download(name, path)

    def info(self, name: str) -> ObjectInfo | None:
        self._before("info")
        return self.inner.info(name)

    def list(self, prefix: str):
        self._before("list")
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        self._before("delete")
        self.inner.delete(name)

    def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
        self._before("compare_and_swap")
        return self.inner.compare_and_swap(name, data, expected)

    def local_path(self, name: str) -> Path | None:
        return self.inner.local_path(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class LaterStore(AroundStore):
    """A store whose clock has gone on by `seconds` since its objects were written; what is written by it is of now."""

    def __init__(self, store: ObjectStore, seconds: float) -> None:
        super().__init__(store)
        self._seconds = seconds
        self._of_now: set[str] = set()

    def write(self, name: str, data: bytes) -> None:
        super().write(name, data)
        self._of_now.add(name)

    def upload(self, path: Path, name: str, *part: Any) -> None:
        super().upload(path, name, *part)
        self._of_now.add(name)

    def info(self, name: str) -> ObjectInfo | None:
        found = self.inner.info(name)
        return None if found is None else self._aged(found)

    def list(self, prefix: str):
        return [self._aged(info) for info in self.inner.list(prefix)]

    def unfinished(self):
        return tuple(self._aged(info) for info in self.inner.unfinished()) if hasattr(self.inner, "unfinished") else ()

    def discard(self, name: str) -> None:
        self.inner.discard(name)

    def _aged(self, info: ObjectInfo) -> ObjectInfo:
        if info.name in self._of_now:
            return info
        return replace(info, created_seconds=info.created_seconds - self._seconds)


class Interrupted(AroundStore):
    """A store beside which `action` happens, whole, right before the operation of number `at` (from 1; 0: never).

    Before each operation LATEST names a whole version, which is what a reader would meet then; `is_watched` says so.
    """

    def __init__(
        self, store: ObjectStore, at: int = 0, action: Callable[[], object] = lambda: None, is_watched: bool = True
    ) -> None:
        super().__init__(store, self._count)
        self.operations, self._at, self._action, self._is_watched = 0, at, action, is_watched

    def _count(self, operation: str) -> None:
        self.operations += 1
        if self.operations == self._at:
            self._action()
        if self._is_watched and latest(self.inner) is not None:
            assert_latest_is_whole(self.inner)


def quietly(action: Callable[[], object]) -> Callable[[], object]:
    """The action, whose refusals are no failure of the test."""

    def tried() -> object:
        try:
            return action()
        except RuijiError as error:
            return error

    return tried


def assert_latest_is_whole(store: ObjectStore) -> str:
    """LATEST names a version all of whose files are there; gives its id."""
    current = latest(store)
    assert current is not None
    assert missing_files(store, current, load_manifest(store, current)) == []
    return current


def whole_objects(store: ObjectStore, versions: list[str]) -> set[str]:
    """Names of all objects of a store that holds these versions and nothing else."""
    names = {"LATEST"}
    for version in versions:
        manifest = load_manifest(store, version)
        names |= {f"versions/{version}/{name}" for name in ("manifest.json", *(e.name for e in file_entries(manifest)))}
    return names


def all_objects(store: ObjectStore) -> set[str]:
    return {info.name for info in store.list("")}
