"""Catalogs: CSV, Parquet, JSON Lines, a folder with one sub-folder a class, or tar and zip files with such folders.

Tables and folders may lie on this machine or in a file system that is handed in (`remote.RemoteFiles`), archives on
this machine alone.

A catalog is planned on the driver (columns, types, number of rows, parts) and read part by part on the workers. What is
wrong with the catalog as a whole is a CatalogError; what is wrong with a row makes that row a FailedItem.
"""

import contextlib
import difflib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sim_transforms.errors import CatalogError, MediaError
from sim_transforms.media.archive import SUFFIXES, Member, archives_of, members
from sim_transforms.media.catalog_plan import CatalogPart, CatalogPlan
from sim_transforms.media.catalog_rows import BAD_ID, STAGE, is_valid_id, reference
from sim_transforms.media.catalog_tables import TABLES, read_tables, survey_table, table_kind
from sim_transforms.media.remote import (
    LOCAL_ONLY,
    FileStatus,
    RemoteFiles,
    Statuses,
    is_remote,
    local_copy,
    local_status,
)
from sim_transforms.records.items import FailedItem, MediaRef, split_of

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_Survey = tuple[str, dict[str, str], tuple[CatalogPart, ...], int]


def plan_catalog(source: str, allow_outside: bool, files: RemoteFiles = LOCAL_ONLY) -> CatalogPlan:
    """Looks at a catalog without reading its media.

    Args:
        source: path or uri.
        allow_outside: whether uris may leave the catalog's folder.
        files: where a catalog with a scheme lies.

    Raises:
        CatalogError: no such file (with the nearest spelling), an unknown kind, missing columns, no rows.
    """
    plan = survey_catalog(source, allow_outside, files)
    if not plan.rows:
        raise CatalogError(f"catalog {source}: it holds no items")
    return plan


def survey_catalog(source: str, allow_outside: bool, files: RemoteFiles = LOCAL_ONLY) -> CatalogPlan:
    """The same for a catalog that may hold no rows any more; raises CatalogError for all else."""
    if is_remote(source):
        path = source.rstrip("/")
        kind, columns, parts, rows = _survey_remote(path, files)
    else:
        path = str(Path(source).absolute())
        kind, columns, parts, rows = _survey_local(source)
    return CatalogPlan(kind, path, columns, rows, parts, allow_outside)


def _survey_remote(path: str, files: RemoteFiles) -> _Survey:
    if not files.reads(path):
        scheme = path.split("://")[0]
        raise CatalogError(f"catalog {path}: {scheme}:// is not read; a path, or a uri as gs://, is expected")
    kind = table_kind(path)
    try:
        if kind:
            with local_copy(path, files) as copy:
                columns, sizes = survey_table(copy, kind, path)
            # One part: the worker that reads it fetches it once.
            return kind, columns, (CatalogPart(0, 1),), sum(sizes)
        listed = {} if path.lower().endswith((*SUFFIXES, *_COMPRESSED)) else files.list(path)
    except MediaError as error:
        raise CatalogError(f"catalog {path}: {error.message}") from error
    rows = len(_below(path, listed))
    if not rows and (not listed or any(name.lower().endswith(SUFFIXES) for name in listed)):
        raise CatalogError(f"catalog {path}: {_nothing_remote(path, listed)}")
    return "folder", {}, (CatalogPart(0, 1),), rows


def _nothing_remote(path: str, listed: dict[str, FileStatus]) -> str:
    if listed or path.lower().endswith((*SUFFIXES, *_COMPRESSED)):
        return "archives are read on this machine alone: copy them here, or put their files into the bucket"
    return f"there is nothing below {path}/; {', '.join(TABLES)} or a folder with one sub-folder a class is expected"


def _below(folder: str, listed: dict[str, FileStatus]) -> list[str]:
    """Uris of what lies in the sub-folders of a folder, in their order; hidden ones are left out."""
    found = []
    for uri in listed:
        parts = uri.removeprefix(folder + "/").split("/")
        if len(parts) > 1 and not any(part.startswith(".") for part in parts):
            found.append(uri)
    return sorted(found)


def _survey_local(source: str) -> _Survey:
    path = Path(source).absolute()
    if not path.exists():
        raise CatalogError(f"catalog {source}: there is no such file or folder{_nearest(path)}")
    kind = "folder" if path.is_dir() else table_kind(path.name)
    if archives_of(path) and (kind != "folder" or not _files(path)):
        kind = "archives"
    if not kind:
        expected = ", ".join((*TABLES, *SUFFIXES))
        raise CatalogError(f"catalog {source}: one of {expected} or a folder is expected{_unpackable(path)}")
    if kind == "archives":
        return kind, {}, *_survey_archives(path)
    if kind == "folder":
        return kind, {}, (CatalogPart(0, 1),), len(_files(path))
    columns, sizes = survey_table(path, kind, str(path))
    firsts = [1 + sum(sizes[:group]) for group in range(len(sizes))]
    return kind, columns, tuple(CatalogPart(g, first) for g, first in enumerate(firsts)), sum(sizes)


def _nearest(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.5)
    return f"; did you mean {path.with_name(near[0])}?" if near else ""


def _unpackable(path: Path) -> str:
    packed = path.name.lower().endswith(_COMPRESSED)
    return "; members of a compressed tar cannot be read one by one: unpack it to .tar" if packed else ""


def _survey_archives(path: Path) -> tuple[tuple[CatalogPart, ...], int]:
    rows, parts = 0, []
    for place, archive in enumerate(archives_of(path)):
        count = sum(1 for _ in members(archive))
        parts.append(CatalogPart(place, rows + 1, archive.name, count))
        rows += count
    return tuple(parts), rows


def read_part(
    plan: CatalogPlan, part: CatalogPart, split_seed: int, files: RemoteFiles = LOCAL_ONLY
) -> Iterator[MediaRef | FailedItem]:
    """The rows of a part: a reference each, or why there is none.

    Args:
        plan: of the catalog.
        part: one of its parts.
        split_seed: of the split, for rows that give none.
        files: where the catalog lies, and that its uris may name.

    Raises:
        CatalogError: the catalog cannot be read any more, or has changed.
    """
    if plan.kind == "archives":
        yield from _read_archive(plan, part, split_seed)
        return
    try:
        for number, row in _rows(plan, part, files):
            yield reference(row, number, plan, split_seed, files)
    except MediaError as error:
        raise CatalogError(f"catalog {plan.path}: {error.message}") from error


def _rows(plan: CatalogPlan, part: CatalogPart, files: RemoteFiles) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers."""
    if plan.kind == "folder":
        for place, uri in enumerate(_uris(plan, files)):
            name = uri.removeprefix(plan.path.rstrip("/") + "/")
            yield place + 1, {"item_id": name, "uri": uri, "label": name.split("/")[0]}
        return
    group = part.group if plan.kind == "parquet" and not plan.is_remote else None
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(local_copy(plan.path, files)) if plan.is_remote else Path(plan.path)
        for table, before in read_tables(path, plan.kind, plan.path, group):
            for place, row in enumerate(table.to_pylist()):
                yield part.first_row + before + place, row


def _uris(plan: CatalogPlan, files: RemoteFiles) -> list[str]:
    """Of the files of a folder, in the order of their names."""
    if plan.is_remote:
        return _below(plan.path, files.list(plan.path))
    return [str(path) for path in _files(Path(plan.path))]


def _read_archive(plan: CatalogPlan, part: CatalogPart, split_seed: int) -> Iterator[MediaRef | FailedItem]:
    count = 0
    for member in members(_archive_of(plan, part)):
        yield _member_reference(member, part.first_row + count, split_seed)
        count += 1
    if count != part.rows:
        raise CatalogError(f"catalog {part.archive}: it held {part.rows} members when the job began, and {count} now")


def _archive_of(plan: CatalogPlan, part: CatalogPart) -> Path:
    root = Path(plan.path)
    return root / part.archive if root.is_dir() else root


def _member_reference(member: Member, number: int, split_seed: int) -> MediaRef | FailedItem:
    """A member of an archive, named by its path there; its first folder is the label."""
    item_id, (folder, _, rest) = member.name, member.name.partition("/")
    if not is_valid_id(item_id):
        named = item_id.encode(errors="backslashreplace").decode()
        return FailedItem(named, member.uri, STAGE, *BAD_ID)
    return MediaRef(item_id, member.uri, folder if rest else "", split_of(item_id, split_seed), number)


def _files(root: Path) -> list[Path]:
    """Files in the sub-folders of `root`, in the order of their names; hidden ones are left out."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if Path(folder) != root:
            found += [Path(folder) / name for name in sorted(names) if not name.startswith(".")]
    return sorted(found, key=lambda p: p.relative_to(root).as_posix())


def catalog_stat_digest(plan: CatalogPlan, files: RemoteFiles = LOCAL_ONLY) -> str:
    """Digest for skipping: the rows, and size and modification time of every media file; no media is read."""
    digest = hashlib.sha256(repr((plan.kind, plan.path, plan.allow_outside, plan.metadata_columns)).encode())
    statuses = Statuses(files)
    if plan.is_remote and plan.kind == "folder":
        statuses.look_below(plan.path)
    for part in plan.parts:
        if plan.kind == "archives":
            # What is in an archive is known by the archive's own stamp; it need not be listed again.
            digest.update(repr(part).encode())
            digest.update(_stamp(local_status(str(_archive_of(plan, part)))))
            continue
        for entry in read_part(plan, part, 0, files):
            digest.update(repr(tuple(vars(entry).values())).encode())
            if isinstance(entry, MediaRef):
                digest.update(_stamp(statuses.of(entry.uri)))
    return digest.hexdigest()


def _stamp(status: FileStatus | None) -> bytes:
    return b"missing\n" if status is None else f"{status.size_bytes} {status.modified_ns}\n".encode()
