"""What the workers of a runner are: asked by a small job before a large one is launched."""

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam

# Whose versions must be those of the command: what they write and read depends on them.
PACKAGES = ("apache-beam", "tensorflow", "tensorflow-transform", "tfx-bsl", "nmslib", "numpy", "pyarrow")
_HOLD_SECONDS = 0.2


class WorkerFacts(NamedTuple):
    """A worker process.

    Attributes:
        host, pid: of it.
        python: version.
        packages: (name, version) of `PACKAGES`; "" of one that is missing.
        cores: of its machine that it may use.
        memory_bytes: of its machine.
        token: what it reads in the file that the command has written; "" where it sees none.
    """

    host: str
    pid: int
    python: str
    packages: tuple[tuple[str, str], ...]
    cores: int
    memory_bytes: int
    token: str


@dataclass
class ProbeWorkers(beam.PTransform):
    """Numbers -> WorkerFacts, one a number.

    Attributes:
        token_path: file that the command has written.
    """

    token_path: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, numbers: beam.PCollection[int]) -> beam.PCollection[WorkerFacts]:
        """Spreads the numbers over the workers; each holds its worker for a moment, so that others get some too."""
        return numbers | "Spread" >> beam.Reshuffle() | "Ask" >> beam.Map(ask, self.token_path)


def ask(_: int, token_path: str) -> WorkerFacts:
    """Facts of this process, after a moment."""
    time.sleep(_HOLD_SECONDS)
    return worker_facts(token_path)


def worker_facts(token_path: str) -> WorkerFacts:
    """Facts of this process."""
    path = Path(token_path)
    packages = tuple((name, _version(name)) for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    token = path.read_text() if path.is_file() else ""
    return WorkerFacts(platform.node(), os.getpid(), platform.python_version(), packages, cores, memory, token)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
