"""The interface of a store: flat names, whole objects, one compare-and-swap."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from sim_transforms.errors import UsageError


@dataclass(frozen=True)
class ObjectInfo:
    """An object.

    Attributes:
        created_seconds: the store's own clock, since 1970.
        generation: changes whenever the content does.
    """

    name: str
    size_bytes: int
    created_seconds: float
    generation: str


class ObjectStore(Protocol):
    """Where versions are published. Names hold `/` between parts and never leave the store."""

    url: str

    def read(self, name: str) -> bytes:
        """Content of an object; raises NotFound."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Writes an object, whole or not at all."""
        ...

    def upload(self, path: Path, name: str, offset: int = 0, size_bytes: int | None = None) -> None:
        """Copies a local file, or `size_bytes` of it from `offset` on, into the store, whole or not at all.

        Raises:
            DamagedArtefact: the file ends before the range does, or what arrived differs from it.
        """
        ...

    def download(self, name: str, path: Path) -> None:
        """Copies an object to a local file; raises NotFound."""
        ...

    def info(self, name: str) -> ObjectInfo | None:
        """What is known of an object, or null where there is none."""
        ...

    def list(self, prefix: str) -> list[ObjectInfo]:
        """Objects whose names start with `prefix`, by name."""
        ...

    def delete(self, name: str) -> None:
        """Removes an object; raises NotFound."""
        ...

    def compare_and_swap(self, name: str, data: bytes, expected: str | None) -> bool:
        """Writes only if the object's generation is `expected` (null: it does not exist); whether it was written."""
        ...

    def compose(self, names: Sequence[str], target: str, crc32c: str | None = None) -> None:
        """Puts objects of the store one after the other into `target`, whole or not at all; they stay.

        Args:
            names: at least one; an object may stand in it more than once.
            target: may exist, and be one of them.
            crc32c: of the result, base64 as in manifests.

        Raises:
            NotFound: one of them is missing.
            DamagedArtefact: the result would not have that checksum; `target` is as it was.
        """
        ...

    def local_path(self, name: str) -> Path | None:
        """The object as a local file that may be opened in place, or null for a remote store."""
        ...


@runtime_checkable
class LeavesUnfinished(Protocol):
    """A store in which a killed upload leaves something behind that `list` does not show; gc cleans it by age."""

    def unfinished(self) -> tuple[ObjectInfo, ...]:
        """What uploads that were killed, or are at work, have written so far."""
        ...

    def discard(self, name: str) -> None:
        """Removes what `unfinished` named; nothing where it is gone."""
        ...


def name_parts(name: str) -> list[str]:
    """The parts of an object's name between slashes; raises UsageError where a store or a file system would balk."""
    parts = name.split("/")
    if any(part == "" or part.startswith(".") for part in parts):
        raise UsageError(f"object name {name!r}: parts that are empty or start with a dot are not allowed")
    if any(character in name for character in "\0\r\n") or any("\ud800" <= c <= "\udfff" for c in name):
        raise UsageError(f"object name {name!r}: NUL, line ends and what is no text are not allowed")
    return parts
