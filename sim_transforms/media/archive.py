"""Archives as catalogs: members of tar and zip files, listed once and then read by offset, each on its own.

A member's uri is `tar:///folder/photos.tar?offset=512&size=9000#cats/1.jpg`, percent-encoded, or `zip://` with the
offset of the member's local header, its compressed size, method, size and CRC-32. Nothing is unpacked to the disk.
"""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, quote, unquote, urlsplit

from sim_transforms.errors import CatalogError, MediaError

SUFFIXES = (".tar", ".zip")
_SCHEMES = ("tar://", "zip://")
_TOLD = {"tar": {"offset", "size"}, "zip": {"offset", "size", "method", "whole", "crc", "sealed"}}
_MOST = 2**62
_LOCAL_HEADER = b"PK\x03\x04"
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name, `/` between folders, and its uri."""

    name: str
    uri: str


def is_archive(path: Path) -> bool:
    """Whether a file's name says that it is one that can be read member by member."""
    return path.suffix.lower() in SUFFIXES


def archives_of(path: Path) -> list[Path]:
    """The archive itself, or those that lie in a folder, by name; none where it is or holds something else."""
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.is_file() and is_archive(p) and not p.name.startswith("."))
    return [path] if is_archive(path) else []


def members(path: Path) -> Iterator[Member]:
    """The regular files of an archive, in its order; hidden ones are left out.

    Raises:
        CatalogError: the archive cannot be read to its end.
    """
    try:
        for name, told in (_tar_members if path.suffix.lower() == ".tar" else _zip_members)(path):
            clean = name.removeprefix("./")
            parts = clean.split("/")
            if not any(part.startswith(".") for part in parts) and parts[0] != "__MACOSX":
                yield Member(clean, f"{path.suffix.lower()[1:]}://{_quoted(str(path))}?{told}#{_quoted(clean)}")
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise CatalogError(f"catalog {path}: not a whole archive: {' '.join(str(error).split())}") from error


def _quoted(text: str) -> str:
    return quote(text, errors="surrogateescape")


def _tar_members(path: Path) -> Iterator[tuple[str, str]]:
    size = path.stat().st_size
    places: dict[str, str] = {}
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            # tarfile keeps what it has seen, which of a million members is a gigabyte.
            archive.members.clear()  # type: ignore[attr-defined]
            if member.issparse():
                raise tarfile.ReadError(f"{member.name} is stored sparsely; pack it without --sparse")
            if member.islnk() and member.linkname not in places:
                raise tarfile.ReadError(f"{member.name} is a link to {member.linkname}, which does not stand before it")
            if member.isreg() and member.offset_data + member.size > size:
                raise tarfile.ReadError(f"it ends within {member.name}")
            if member.isreg():
                places[member.name] = f"offset={member.offset_data}&size={member.size}"
            if member.isreg() or member.islnk():
                yield member.name, places[member.linkname if member.islnk() else member.name]
        _check_tar_end(path, archive.offset)


def _check_tar_end(path: Path, offset: int) -> None:
    """`next` gives nothing also at a header that is damaged; zeros follow a whole archive."""
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(2**20):
            if block.strip(b"\0"):
                raise tarfile.ReadError(f"no member begins at byte {offset}, and no end either")


def _zip_members(path: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                sealed = info.flag_bits & 1
                told = f"offset={info.header_offset}&size={info.compress_size}&method={info.compress_type}"
                yield info.filename, f"{told}&whole={info.file_size}&crc={info.CRC}&sealed={sealed}"


def is_member(uri: str) -> bool:
    """Whether a uri names a member of an archive."""
    return uri.startswith(_SCHEMES)


def file_of(uri: str) -> str:
    """The file on the disk that holds what a uri names; raises ValueError for a uri that cannot be one."""
    if not is_member(uri):
        return uri
    parts = urlsplit(uri)
    path = unquote(parts.path, errors="surrogateescape")
    if parts.netloc or "\0" in path:
        raise ValueError("a member's uri names an absolute path")
    return path


def read_member(uri: str, most_bytes: int) -> bytes:
    """Content of a member.

    Args:
        uri: as `members` gives it.
        most_bytes: larger ones are refused before they are read.

    Raises:
        MediaError: bad_uri, missing, too_large, damaged, encrypted, unsupported_compression or unreadable.
    """
    told = _told(uri)
    size = told.get("whole", told["size"])
    if max(size, told["size"]) > most_bytes:
        raise MediaError("too_large", f"the member holds {size:,} bytes; at most {most_bytes:,} are read")
    try:
        path = file_of(uri)
        if not os.path.isfile(path):
            raise MediaError("missing", f"there is no archive {path}")
        with open(path, "rb") as file:
            return _tar_content(file, told) if uri.startswith("tar://") else _zip_content(file, told)
    except ValueError as error:
        raise MediaError("bad_uri", str(error)) from error
    except OSError as error:
        raise MediaError("unreadable", f"the archive cannot be read: {error}") from error


def _told(uri: str) -> dict[str, int]:
    wanted = _TOLD[uri[:3]]
    try:
        told = {name: int(values[0]) for name, values in parse_qs(urlsplit(uri).query).items()}
    except ValueError:
        told = {}
    if told.keys() != wanted or min(told.values()) < 0 or max(told.values()) > _MOST:
        raise MediaError("bad_uri", f"{uri[:3]}:// is followed by a path and {'=, '.join(sorted(wanted))}= of a member")
    return told


def _tar_content(file: BinaryIO, told: dict[str, int]) -> bytes:
    return _whole(os.pread(file.fileno(), told["size"], told["offset"]), told["size"])


def _zip_content(file: BinaryIO, told: dict[str, int]) -> bytes:
    if told["sealed"]:
        raise MediaError("encrypted", "the member is encrypted")
    header = _whole(os.pread(file.fileno(), 30, told["offset"]), 30)
    if header[:4] != _LOCAL_HEADER:
        raise MediaError("damaged", "the archive has changed: no member begins where one was")
    further = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    packed = _whole(os.pread(file.fileno(), told["size"], told["offset"] + 30 + further), told["size"])
    data = packed
    if told["method"] == _DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, told["whole"] + 1)
        except zlib.error as error:
            raise MediaError("damaged", f"the member cannot be unpacked: {error}") from error
    elif told["method"] != _STORED:
        raise MediaError("unsupported_compression", f"zip method {told['method']}; stored or deflated is expected")
    if len(data) != told["whole"] or zlib.crc32(data) != told["crc"]:
        raise MediaError("damaged", "the member is not what the archive's directory says of it")
    return data


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise MediaError("truncated", "the archive ends within the member")
    return data
