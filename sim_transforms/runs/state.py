"""What a working directory knows of its stages: the digest they last ran with, and what they said."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sim_transforms.records.codec import canonical_json
from sim_transforms.runs.folders import is_whole
from sim_transforms.storage.files import write_file


class StageState:
    """JSON files in `<workdir>/state/`, one a stage, each written whole after its stage has finished."""

    def __init__(self, workdir: Path) -> None:
        """Reads nothing yet."""
        self.workdir = workdir

    def done(self, stage: str, digest: str) -> bool:
        """Whether the stage ran with this digest and its output still stands as it left it."""
        record = self._read(stage)
        if record is None or record["digest"] != digest:
            return False
        # Relative to the working directory, so that it can be moved; an absolute path stays what it is.
        output = self.workdir / record["output"]
        return is_whole(output) and _manifest_digest(output) == record["manifest"] and _sizes(output) == record["files"]

    def value(self, stage: str) -> dict[str, Any] | None:
        """The results that the stage recorded."""
        record = self._read(stage)
        return record["results"] if record else None

    def record(self, stage: str, digest: str, output: Path, results: dict[str, Any]) -> None:
        """Notes that the stage has finished."""
        inside = output.relative_to(self.workdir) if output.is_relative_to(self.workdir) else output
        entry = {
            "digest": digest,
            "output": str(inside),
            "manifest": _manifest_digest(output),
            "files": _sizes(output),
            "results": results,
        }
        path = self._path(stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, canonical_json(entry).encode())

    def _read(self, stage: str) -> dict[str, Any] | None:
        path = self._path(stage)
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_bytes())
        except ValueError:
            return None
        whole = isinstance(record, dict) and record.keys() >= {"digest", "output", "manifest", "files", "results"}
        return record if whole else None

    def _path(self, stage: str) -> Path:
        return self.workdir / "state" / f"{stage}.json"


def _sizes(output: Path) -> dict[str, int]:
    """Bytes of every file, also of those whose content changes with each save and that no manifest lists."""
    return {p.relative_to(output).as_posix(): p.stat().st_size for p in sorted(output.rglob("*")) if p.is_file()}


def _manifest_digest(output: Path) -> str:
    return hashlib.sha256((output / "manifest.json").read_bytes()).hexdigest()
