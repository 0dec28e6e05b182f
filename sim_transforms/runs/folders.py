"""Artefacts appear whole or not at all: written aside, synced, then swapped in.

States that a crash can leave, and what `recover` makes of them:

| `<name>` | `.<name>.new` (sealed by a rename) | `.<name>.old` | then |
|---|---|---|---|
| old | - | - | nothing to do |
| old | whole | - | the swap goes on |
| - | whole | old | the swap goes on |
| new | - | old | the old one is removed |

`.<name>-<random>.tmp` is a folder being written; it is thrown away.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim_transforms.errors import Detached, RuijiError, UsageError
from sim_transforms.records.manifests import Manifest
from sim_transforms.storage.files import sync

_BEING_WRITTEN = "tmp"


@contextmanager
def fresh_folder(place: Path, ending: str) -> Iterator[Path]:
    """An empty folder `.<name>-<random>.<ending>` beside `place`; gone after an error, unless a job still writes there.

    Of a new name each time, and those of runs that were killed or left are removed: a job that still runs finds its
    folder gone, and does not write into that of the next one.
    """
    _remove_left(place, ending)
    folder = place.with_name(f".{place.name}-{uuid.uuid4().hex[:8]}.{ending}")
    folder.mkdir(parents=True)
    try:
        yield folder
    except Detached:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _remove_left(place: Path, ending: str) -> None:
    for left in place.parent.glob(f".{place.name}-*.{ending}"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder; on success it takes the place of `target`, whatever stood there before."""
    sealed, _ = _names(target)
    recover(target)
    with fresh_folder(target, _BEING_WRITTEN) as temporary:
        yield temporary
    _sync_tree(temporary)
    os.rename(temporary, sealed)
    sync(target.parent)
    recover(target)


@contextmanager
def output_folder(target: Path, kind: type[Manifest]) -> Iterator[Path]:
    """The same for what a user has named: only an output of this kind is replaced, and an empty folder.

    Raises:
        UsageError: something else stands there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    strange = _strange_file(target, kind)
    if strange is not None:
        what = "is there" if strange == target else f"holds {strange.relative_to(target)}"
        raise UsageError(
            f"--output {target} {what}, which no earlier output of this command is: name another folder, or empty it"
        )
    with staged_folder(target) as folder:
        yield folder


def _strange_file(target: Path, kind: type[Manifest]) -> Path | None:
    """What an earlier output of this kind would not hold; null where there is nothing."""
    if not target.is_dir():
        return target if target.exists() or target.is_symlink() else None
    found = sorted(path for path in target.rglob("*") if path.is_symlink() or not path.is_dir())
    if not found:
        return next(iter(sorted(target.iterdir())), None)
    try:
        manifest = kind.load(target)
    except (RuijiError, OSError, UnicodeDecodeError):
        return found[0]
    known = {"manifest.json", *(entry.name for entry in getattr(manifest, "files", ()))}
    return next((path for path in found if path.relative_to(target).as_posix() not in known), None)


def recover(target: Path) -> None:
    """Puts right what a crash has left beside `target`."""
    sealed, old = _names(target)
    _remove_left(target, _BEING_WRITTEN)
    if sealed.exists():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(target, old)
        os.rename(sealed, target)
        sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def only_child(parent: Path, name: str) -> Path:
    """The folder `name` in `parent`, made where missing; whatever else stands there is removed."""
    (parent / name).mkdir(parents=True, exist_ok=True)
    for other in sorted(parent.iterdir()):
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)
    return parent / name


def is_whole(folder: Path) -> bool:
    """Whether the manifest is there, and every file it lists with the size it says."""
    path = folder / "manifest.json"
    if not path.is_file():
        return False
    try:
        manifest = json.loads(path.read_bytes())
        listed = [*manifest.get("files", []), *manifest.get("shard_files", [])]
        entries = [(e["name"], e["size_bytes"]) for e in listed]
        if manifest.get("index") is not None:
            entries.append(("index.hnsw", manifest["index"]["size_bytes"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in entries)


def _names(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)
