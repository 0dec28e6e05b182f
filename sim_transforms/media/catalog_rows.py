"""One row of a catalog -> a reference, or the reason why it is none."""

import os
from pathlib import Path
from typing import Any

from sim_transforms.media.archive import file_of, is_member
from sim_transforms.media.catalog_plan import CatalogPlan
from sim_transforms.media.catalog_tables import as_text
from sim_transforms.media.remote import RemoteFiles, is_remote
from sim_transforms.records.items import MAX_ID_BYTES, FailedItem, MediaRef, Scalar, split_of

STAGE = "catalog"
_LONGEST_URI = 4096
BAD_ID = "bad_item_id", f"item_id holds control characters, no valid Unicode, or more than {MAX_ID_BYTES} bytes"


def reference(
    row: dict[str, Any], number: int, plan: CatalogPlan, split_seed: int, files: RemoteFiles
) -> MediaRef | FailedItem:
    """One row of a catalog as a reference, or the reason why it is none.

    Args:
        row: its columns.
        number: counted from 1.
        plan: of the catalog.
        split_seed: of the split, where the row gives none.
        files: that uris with a scheme may name.
    """
    item_id, uri = _text(row.get("item_id")), _text(row.get("uri"))
    named = item_id.encode(errors="backslashreplace").decode() or f"row {number}"
    uri = uri.encode(errors="surrogateescape").decode(errors="backslashreplace") if not is_valid_id(item_id) else uri
    problem = _problem(item_id, uri, _text(row.get("split")), files)
    if problem:
        return FailedItem(named, uri, STAGE, *problem)
    target = _resolve(uri, plan)
    if target is None:
        message = "the uri leaves the catalog's folder; catalog.allow_outside: true permits it"
        return FailedItem(named, uri, STAGE, "outside_catalog", message)
    metadata = tuple((name, _scalar(row.get(name), kind)) for name, kind in plan.metadata_columns.items())
    split = _text(row.get("split")) or split_of(item_id, split_seed)
    return MediaRef(item_id, target, _text(row.get("label")), split, number, metadata)


def _problem(item_id: str, uri: str, split: str, files: RemoteFiles) -> tuple[str, str] | None:
    if not item_id:
        return "missing_item_id", "the row has no item_id"
    if not is_valid_id(item_id):
        return BAD_ID
    if not uri:
        return "missing_uri", "the row has no uri"
    if len(uri) > _LONGEST_URI:
        return "bad_uri", f"the uri holds {len(uri):,} characters; at most {_LONGEST_URI:,} are a path"
    if (
        "://" in uri
        and not uri.startswith("file://")
        and not is_member(uri)
        and not (is_remote(uri) and files.reads(uri))
    ):
        return "unsupported_uri", f"{uri.split('://')[0]}:// is not read; a path or a uri as gs:// is expected"
    if split not in ("", "train", "test"):
        return "bad_split", f"split is {split!r}; train, test or nothing is expected"
    return None


def is_valid_id(item_id: str) -> bool:
    """Whether an id is Unicode without control characters and of at most 1,024 bytes."""
    try:
        size = len(item_id.encode())
    except UnicodeEncodeError:
        return False
    # What is printable holds no control characters; what is not may hold none either.
    return size <= MAX_ID_BYTES and (item_id.isprintable() or not any(ord(c) < 32 or ord(c) == 127 for c in item_id))


def _resolve(uri: str, plan: CatalogPlan) -> str | None:
    """Absolute path of a uri or a uri with its scheme, or null where it leaves the catalog's folder and must not."""
    if "\0" in uri:
        return None
    if is_remote(uri):
        return uri if plan.allow_outside or _is_below(uri, plan.folder) else None
    try:
        path = Path(file_of(uri.removeprefix("file://")))
    except ValueError:
        return None
    if plan.is_remote:
        is_relative = not path.is_absolute() and not uri.startswith("file://")
        return _joined(uri, plan) if is_relative else uri.removeprefix("file://") if plan.allow_outside else None
    target = path if path.is_absolute() else plan.folder / path
    found = uri if is_member(uri) else str(target)
    if plan.allow_outside:
        return found
    inside = os.path.realpath(target)
    root = os.path.realpath(plan.folder)
    return found if inside == root or inside.startswith(root + os.sep) else None


def _is_below(uri: str, folder: str) -> bool:
    """Whether a uri names something below a folder, whatever a file system makes of `..`."""
    return uri.startswith(folder + "/") and ".." not in uri.removeprefix(folder).split("/")


def _joined(uri: str, plan: CatalogPlan) -> str | None:
    """The uri of a path that is relative to a remote catalog; null also where it climbs out of the bucket."""
    scheme, _, folder = plan.folder.partition("://")
    bucket, *names = folder.split("/")
    for name in uri.split("/"):
        if name == "..":
            if not names:
                return None
            names.pop()
        elif name not in ("", "."):
            names.append(name)
    found = f"{scheme}://{'/'.join((bucket, *names))}"
    return found if plan.allow_outside or _is_below(found, plan.folder) else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _scalar(value: Any, kind: str) -> Scalar:
    if value is None:
        return None
    if kind == "double":
        number = float(value)
        return number if number == number and abs(number) != float("inf") else None
    if kind == "string":
        return as_text(value)
    return bool(value) if kind == "bool" else int(value)
