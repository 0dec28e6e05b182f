"""One stage of a run: skipped when nothing it depends on has changed, else worked in a fresh folder and swapped in."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim_transforms.runs.digests import code_digest, settings_digest
from sim_transforms.runs.folders import fresh_folder, recover, staged_folder
from sim_transforms.runs.state import StageState

Results = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A step from artefacts to an artefact.

    Attributes:
        name: shown, and the key of its state.
        inputs: plain values on which the output depends: settings, digests of artefacts.
        modules: packages and modules whose code the output depends on.
        output: the artefact's folder; null where `work` puts it in place itself (a published version) and names the
            folder, by its path or URL, in its results as `folder`.
        work: writes the artefact into the folder it is given and returns small plain results.
        again: run also where nothing has changed.
    """

    name: str
    inputs: Any
    modules: tuple[str, ...]
    output: Path | None
    work: Callable[[Path], Results]
    again: bool = False

    def digest(self) -> str:
        """Digest of everything the output depends on."""
        return settings_digest({"inputs": self.inputs, "code": code_digest(self.modules)})


@dataclass(frozen=True)
class StageResult:
    """`skipped`: nothing was done; `results`: as `work` returned them, now or when it last ran."""

    skipped: bool
    results: Results


def run_stage(stage: Stage, state: StageState, notify: Callable[[str], None]) -> StageResult:
    """Runs or skips one stage; after a crash at any moment the next call goes on."""
    if stage.output is not None:
        recover(stage.output)
    digest = stage.digest()
    if not stage.again and state.done(stage.name, digest):
        notify(f"{stage.name}: unchanged, skipped")
        return StageResult(True, state.value(stage.name) or {})
    notify(f"{stage.name}: started")
    began = time.monotonic()
    results, output = _work(stage, state)
    state.record(stage.name, digest, output, results)
    notify(f"{stage.name}: done in {time.monotonic() - began:.1f} s")
    return StageResult(False, results)


def _work(stage: Stage, state: StageState) -> tuple[Results, str | Path]:
    if stage.output is not None:
        with staged_folder(stage.output) as folder:
            return stage.work(folder), stage.output
    with scratch_folder(state.workdir, stage.name) as folder:
        results = stage.work(folder)
        return results, str(results["folder"])


@contextmanager
def scratch_folder(workdir: Path, name: str) -> Iterator[Path]:
    """An empty folder; gone afterwards, unless a detached job still writes there (`fresh_folder`)."""
    with fresh_folder(workdir / name, "scratch") as folder:
        yield folder
    shutil.rmtree(folder, ignore_errors=True)
