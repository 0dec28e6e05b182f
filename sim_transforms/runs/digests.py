"""Digests that decide whether a stage has to run again."""

import hashlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sim_transforms.errors import NotFound
from sim_transforms.records.codec import canonical_json


def settings_digest(value: Any) -> str:
    """SHA-256 of a plain value or dataclass."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def tree_digest(folder: Path) -> str:
    """SHA-256 of an artefact's manifest, which describes its files.

    Raises:
        NotFound: the folder is no whole artefact.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise NotFound(f"{folder} is no whole artefact (it has no manifest.json); run the stage that makes it first")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def code_digest(modules: Sequence[str]) -> str:
    """SHA-256 over the source files of modules and packages, which are found but not imported."""
    digest = hashlib.sha256()
    for name in sorted(modules):
        for relative, path in _sources(name):
            digest.update(f"{name}/{relative}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources(module: str) -> Iterable[tuple[str, Path]]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of module {module}")
    path = Path(spec.origin)
    if path.name != "__init__.py":
        return [(path.name, path)]
    return sorted((p.relative_to(path.parent).as_posix(), p) for p in path.parent.rglob("*.py"))
