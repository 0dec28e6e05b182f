"""`kill -9` of a run at seeded moments; after each, a new run publishes what an undisturbed one does.

Thoroughly, at ten moments.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.pipelines.small_catalogs import (
    ONE_PROCESS,
    command,
    configuration,
    digits_catalog,
    published_bytes,
    quiet,
    ruiji,
)
from tests.thorough import THOROUGH, rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STAGES = ("preprocess", "train", "embed", "index", "evaluate", "report")
FOLDERS = {
    "preprocess": "examples",
    "train": "model",
    "embed": "embeddings",
    "index": "store",
    "evaluate": "evaluation",
}
# (stage, most seconds after its start); publishing is part of the stage index and killed from within, by step.
MOMENTS = (
    ("preprocess", 1.0),
    ("preprocess", 4.0),
    ("train", 2.0),
    ("train", 5.0),
    ("embed", 1.5),
    ("index", 2.0),
    ("evaluate", 0.05),
    ("report", 0.3),
)
PUBLISH_STEPS = ("second upload", "move of LATEST")

# Kills its own process in the middle of publishing, at a step that is too short to be hit from outside.
_PUBLISH_KILLER = """
import os, signal, sys
from sim_transforms.storage import local
def die(*_):
    sys.stderr.write("killed here\\n"); sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
uploads = []
upload, swap = local.LocalStore.upload, local.LocalStore.compare_and_swap
def counted(self, path, name):
    uploads.append(name)
    if sys.argv[1] == "second upload" and len(uploads) == 2:
        local.replace_file = half_written
    return upload(self, path, name)
def half_written(path):
    path.with_name(".tmp-half-" + path.name).write_bytes(b"half")
    die()
local.LocalStore.upload = counted
if sys.argv[1] == "move of LATEST":
    local.LocalStore.compare_and_swap = die
from pipelines.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(configuration, working directory) of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = configuration(folder, digits_catalog(folder / "media", 120))
    ruiji(*_arguments(config, folder / "work"))
    return config, folder / "work"


def _arguments(config: Path, work: Path) -> tuple[str, ...]:
    return ("run", "--config", str(config), "--workdir", str(work), *ONE_PROCESS)


def _work_before(stage: str, source: Path, target: Path) -> None:
    """A working directory as a run leaves it that has come to `stage`: the artefacts and states of those before."""
    (target / "state").mkdir(parents=True)
    for earlier in STAGES[: STAGES.index(stage)]:
        shutil.copytree(source / FOLDERS[earlier], target / FOLDERS[earlier])
        shutil.copy(source / "state" / f"{earlier}.json", target / "state")


def _kill_in(stage: str, delay: float, config: Path, work: Path) -> bool:
    """Starts a run, waits until the stage has started and `delay` seconds more, kills; whether it was still running."""
    child = subprocess.Popen(
        command(*_arguments(config, work)), stderr=subprocess.PIPE, text=True, env=quiet(), start_new_session=True
    )
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith(f"ruiji: {stage}: started"):
            break
    drain = threading.Thread(target=child.stderr.read)
    drain.start()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=delay)
    running = child.poll() is None
    if running:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    drain.join()
    child.stderr.close()
    return running


def _kill_publishing(step: str, config: Path, work: Path) -> bool:
    arguments = [sys.executable, "-c", _PUBLISH_KILLER, step, *_arguments(config, work)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=quiet(), timeout=540, check=False)
    return done.returncode == -signal.SIGKILL and "killed here" in done.stderr


def _one(moment: tuple[str, str, float], undisturbed: tuple[Path, Path], work: Path) -> str:
    kind, stage, delay = moment
    config, finished = undisturbed
    _work_before("index" if kind == "publish" else stage, finished, work)
    began = time.monotonic()
    running = _kill_publishing(stage, config, work) if kind == "publish" else _kill_in(stage, delay, config, work)
    after = f"{delay:.2f} s after its start" if delay else "from within"
    told = f"killed in {kind} {stage}, {after}, {time.monotonic() - began:.1f} s after launch"
    assert running, f"the run had ended before: {told}"
    ruiji(*_arguments(config, work))
    assert published_bytes(work / "store") == published_bytes(finished / "store"), told
    return told


def test_run_killed_at_many_moments_publishes_the_same_bytes(undisturbed, tmp_path: Path) -> None:
    draws = random.Random(3)
    moments = [("stage", stage, draws.uniform(0.0, most)) for stage, most in MOMENTS]
    moments += [("publish", step, 0.0) for step in PUBLISH_STEPS]
    moments = moments if THOROUGH else moments[1::4]
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda m: _one(m[1], undisturbed, tmp_path / str(m[0])), enumerate(moments)))
    sys.stdout.write("\n".join(["", *told, ""]))
    assert len(told) == rounds(10, 3)
