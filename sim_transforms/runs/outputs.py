"""The files of a stage's output, whether it is a folder of this machine or a version in a remote store."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sim_transforms.errors import NotFound
from sim_transforms.runs.folders import is_whole
from sim_transforms.storage.open import open_store


@dataclass(frozen=True)
class OutputFiles:
    """What stands there.

    Attributes:
        manifest: SHA-256 of manifest.json.
        files: bytes of every file, also of those whose content changes with each save and that no manifest lists.
    """

    manifest: str
    files: dict[str, int]


def is_remote(output: str) -> bool:
    """Whether it is a URL rather than a path."""
    return "://" in output


def output_files(output: str) -> OutputFiles | None:
    """The files of an output by its path or URL, or null where there is no whole artefact."""
    return _remote_files(output) if is_remote(output) else _local_files(Path(output))


def _local_files(folder: Path) -> OutputFiles | None:
    if not is_whole(folder):
        return None
    files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    return OutputFiles(hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest(), files)


def _remote_files(url: str) -> OutputFiles | None:
    store = open_store(url)
    try:
        manifest = store.read("manifest.json")
    except NotFound:
        return None
    return OutputFiles(hashlib.sha256(manifest).hexdigest(), {info.name: info.size_bytes for info in store.list("")})
