"""What is known of a catalog before launch: made on the driver, carried to the workers."""

from dataclasses import dataclass
from pathlib import Path

from sim_transforms.media.remote import is_remote


@dataclass(frozen=True)
class CatalogPart:
    """A range of rows that one worker reads.

    Attributes:
        group: row group of a Parquet file.
        first_row: from 1 on.
        archive: name of the archive, "" where there is none; `rows` of its members.
    """

    group: int
    first_row: int
    archive: str = ""
    rows: int = 0


@dataclass(frozen=True)
class CatalogPlan:
    """What is known of a catalog before launch.

    Attributes:
        kind: csv, parquet, jsonl, folder or archives.
        path: absolute, or a uri without a slash at its end.
        metadata_columns: name -> "string", "int64", "double" or "bool"; sorted by name.
        rows: of the catalog.
        parts: together all rows.
        allow_outside: whether uris may leave the catalog's folder.
    """

    kind: str
    path: str
    metadata_columns: dict[str, str]
    rows: int
    parts: tuple[CatalogPart, ...]
    allow_outside: bool

    @property
    def is_remote(self) -> bool:
        """Whether it lies in another file system than this machine's own."""
        return is_remote(self.path)

    @property
    def folder(self) -> str:
        """Folder that relative uris start from; no slash at its end."""
        if self.kind == "folder":
            return self.path
        return self.path.rpartition("/")[0] if self.is_remote else str(Path(self.path).parent)
