"""Ruiji's side: the real command as a user starts it, and the version that it published."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.peers import NmslibSearcher
from benchmarks.processes import Finished, run_measured
from sim_transforms.hnsw.file_format import read_header

PROGRAM = (sys.executable, "-m", "pipelines.cli")


@dataclass(frozen=True)
class Version:
    """A published version.

    Attributes:
        folder: in the store.
        manifest, timings: its manifest.json and timings.json.
    """

    folder: Path
    manifest: Mapping[str, Any]
    timings: Mapping[str, Any]

    @property
    def index(self) -> Path:
        """The native file."""
        return self.folder / "index.hnsw"

    def seconds(self, name: str) -> float | None:
        """One of the timings, such as graph_seconds; null where the version does not hold it."""
        found = self.timings.get(name)
        return None if found is None else float(found)


@dataclass(frozen=True)
class Build:
    """One run of the command."""

    finished: Finished
    version: Version


def index_command(
    embeddings: Path, folder: Path, settings: Mapping[str, object], threads: int, program: Sequence[str] = PROGRAM
) -> list[str]:
    """The command line; store and working directory are new folders in `folder`."""
    overrides = [word for key, value in settings.items() for word in ("--set", f"index.{key}={value}")]
    places = ["--embeddings", str(embeddings), "--store", str(folder / "store"), "--workdir", str(folder / "work")]
    return [*program, "index", *places, *overrides, f"--direct_num_workers={threads}", "--json"]


def build_version(
    embeddings: Path, folder: Path, settings: Mapping[str, object], threads: int, program: Sequence[str] = PROGRAM
) -> Build:
    """Runs the command into the new folder `folder` and reads what it published.

    Args:
        embeddings: .npy file, [n, d] float32; the item_id of each vector is its row number.
        folder: is made here.
        settings: keys of the section `index`, without the section's name.
        threads: worker processes of Beam's local runner.
        program: what stands before `index` on the command line.
    """
    folder.mkdir(parents=True)
    finished = run_measured(index_command(embeddings, folder, settings, threads, program))
    return Build(finished, read_version(folder / "store"))


def read_version(store: Path) -> Version:
    """The version that LATEST names."""
    folder = store / "versions" / (store / "LATEST").read_text().strip()
    manifest, timings = (json.loads((folder / name).read_text()) for name in ("manifest.json", "timings.json"))
    return Version(folder, manifest, timings)


def open_ruiji(version: Version, space: str) -> NmslibSearcher:
    """Opens the native file with stock NMSLIB; answers are row numbers of the vectors that were given."""
    return NmslibSearcher(version.index, space, positions_of(version))


def positions_of(version: Version) -> np.ndarray[Any, Any]:
    """[rows of the file] int64 row number of the given vectors, -1 where a row holds no item."""
    items = pq.read_table(version.folder / "items.parquet", columns=["row", "item_id"])
    positions = np.full(read_header(version.index).items, -1, np.int64)
    positions[items["row"].to_numpy()] = [int(item_id) for item_id in items["item_id"].to_pylist()]
    return positions
