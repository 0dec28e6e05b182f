"""Small real catalogs and configurations for whole runs, and the command in a process of its own."""

import io
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import yaml

from pipelines.cli import main
from sim_transforms.media.digits import write_digits

ONE_PROCESS = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")
TWO_PROCESSES = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")


def digits_catalog(folder: Path, count: int) -> Path:
    """A CSV catalog of the first `count` digits, with a metadata column."""
    lines = write_digits(folder, seed=0).read_text().splitlines()
    catalog = folder / "small.csv"
    rows = [f"{line},{place}" for place, line in enumerate(lines[1 : count + 1])]
    catalog.write_text("\n".join([lines[0] + ",place", *rows]) + "\n")
    return catalog


def configuration(folder: Path, catalog: Path, **sections: object) -> Path:
    """A configuration that trains for a moment only and builds several shards."""
    tree: dict[str, object] = {
        "name": "small",
        "catalog": {"source": str(catalog)},
        "train": {"epochs": 1, "steps_per_epoch": 3, "examples_per_class": 4, "calibrate_precision": 0.5},
        "index": {"shard_items": 40, "recall_target": 0.9},
        "preprocess": {"shards": 2},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}  # type: ignore[dict-item]
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def command(*arguments: str) -> list[str]:
    """The command line of `ruiji` in this environment."""
    return [sys.executable, "-m", "pipelines.cli", *arguments]


def ruiji(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the command in this process, which has TensorFlow and Beam at hand, and checks its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(arguments)
    assert code == expect, err.getvalue()[-4000:]
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def ruiji_alone(*arguments: str) -> str:
    """Runs the command in a process of its own; all that stands on its standard output."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=quiet(), timeout=540, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def quiet() -> dict[str, str]:
    """The environment of child processes."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def published_bytes(store: Path) -> dict[str, bytes]:
    """LATEST and every file of every version but timings.json, by name; leases are no part of what is published."""
    found = [p for p in sorted(store.rglob("*")) if p.relative_to(store).parts[0] != "leases"]
    files = [p for p in found if p.is_file() and not p.name.startswith(".")]
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in files if p.name != "timings.json"}
