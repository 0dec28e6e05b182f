"""Small pictures for a page: out of the page of the version before, and of wherever else a caller knows."""

import base64
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from sim_transforms.browse.scripts import CHUNKS, chunk_path, opening
from sim_transforms.records.manifests import PAGE_FOLDER

# (item_id, digest of its media) -> PNG of at most 64 pixels a side, or null where there is none.
Pictures = Callable[[str, str], bytes | None]


def no_pictures(item_id: str, digest: str) -> bytes | None:
    """Of vectors that were made elsewhere."""
    return None


def first_of(sources: Sequence[Pictures]) -> Pictures:
    """The picture of the first source that has one; the later ones are not asked."""

    def picture(item_id: str, digest: str) -> bytes | None:
        found = (source(item_id, digest) for source in sources)
        return next((png for png in found if png is not None), None)

    return picture


class PagePictures:
    """Pictures of a published version's page, of items whose media have not changed since; read as they are asked for.

    Args:
        folder: of the version's files, those of the page too; a version without a page has no pictures.
    """

    def __init__(self, folder: Path) -> None:
        """Reads ids and digests, and where the pictures stand."""
        self._folder = folder / PAGE_FOLDER
        self._lines: dict[int, list[tuple[int, int]]] = {}
        self._rows: dict[tuple[str, str], int] = {}
        with pq.ParquetFile(folder / "items.parquet") as file:
            if (self._folder / "pictures").is_dir() and "digest" in file.schema_arrow.names:
                items = file.read(columns=["row", "item_id", "digest"])
                columns = (items.column(name).to_pylist() for name in ("item_id", "digest", "row"))
                self._rows = {(item_id, digest): row for item_id, digest, row in zip(*columns, strict=True) if digest}

    def __call__(self, item_id: str, digest: str) -> bytes | None:
        """The picture of an item, where the version shows it of these very media."""
        row = self._rows.get((item_id, digest))
        if row is None:
            return None
        chunk, place = divmod(row, CHUNKS["pictures"])
        if chunk not in self._lines:
            self._lines[chunk] = self._read_lines(chunk)
        lines = self._lines[chunk]
        if place >= len(lines):
            return None
        offset, length = lines[place]
        with chunk_path(self._folder, "pictures", chunk).open("rb") as file:
            line = os.pread(file.fileno(), length, offset).rstrip(b",\n")
        return None if line == b"null" else base64.b64decode(line.strip(b'"'), validate=True)

    def _read_lines(self, chunk: int) -> list[tuple[int, int]]:
        """Offset and length of each entry; none where the file is missing or not as it is written here."""
        path = chunk_path(self._folder, "pictures", chunk)
        if not path.is_file():
            return []
        found = []
        with path.open("rb") as file:
            if file.readline() != f"{opening('pictures', chunk)}\n".encode():
                return []
            offset = file.tell()
            for line in file:
                found.append((offset, len(line)))
                offset += len(line)
        lines = found[:-1]
        return lines if len(lines) <= CHUNKS["pictures"] else []
