"""What a working directory knows of its stages: the digest they last ran with, and what they said."""

import json
from pathlib import Path
from typing import Any

from sim_transforms.errors import NotFound
from sim_transforms.records.codec import canonical_json
from sim_transforms.runs.outputs import is_remote, output_files
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
        # Relative to the working directory, so that it can be moved; an absolute path or a URL stays what it is.
        output = record["output"] if is_remote(record["output"]) else str(self.workdir / record["output"])
        found = output_files(output)
        return found is not None and (found.manifest, found.files) == (record["manifest"], record["files"])

    def value(self, stage: str) -> dict[str, Any] | None:
        """The results that the stage recorded."""
        record = self._read(stage)
        return record["results"] if record else None

    def record(self, stage: str, digest: str, output: str | Path, results: dict[str, Any]) -> None:
        """Notes that the stage has finished.

        Raises:
            NotFound: its output, a path or a URL, is no whole artefact.
        """
        output = str(output)
        found = output_files(output)
        if found is None:
            raise NotFound(f"{output} holds no manifest.json, though the stage {stage} has finished; run it again")
        is_inside = not is_remote(output) and Path(output).is_relative_to(self.workdir)
        entry = {
            "digest": digest,
            "output": str(Path(output).relative_to(self.workdir)) if is_inside else output,
            "manifest": found.manifest,
            "files": found.files,
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
