"""Local files that appear whole or not at all."""

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".tmp-"


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Gives a temporary sibling to write; on success it is synced and renamed to `path`.

    The name keeps its ending, and holds process, thread and chance so that two attempts of one work item do not write
    into each other, on two machines neither; what a killed attempt leaves behind goes with its folder, or by gc.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{threading.get_ident()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


def sync(path: Path) -> None:
    """Flushes a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
