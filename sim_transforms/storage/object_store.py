"""The interface of a store: flat names, whole objects, one compare-and-swap."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


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

    def upload(self, path: Path, name: str) -> None:
        """Copies a local file into the store, whole or not at all."""
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
