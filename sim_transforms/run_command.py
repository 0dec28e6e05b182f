"""Command lines of `ruiji` -> what they answered, each run in a process of its own on the worker that gets it."""

import logging
import subprocess
import sys
from dataclasses import dataclass

import apache_beam as beam

from sim_transforms.errors import RuijiError

_LOGGER = logging.getLogger(__name__)
# Of what a command said, in the message of its failure.
_LAST_LINES = 20


@dataclass
class RunCommand(beam.PTransform):
    """Arguments of `ruiji` -> the last line that it said: the JSON object that it answered."""

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, arguments: beam.PCollection[tuple[str, ...]]) -> beam.PCollection[str]:
        """Runs each."""
        return arguments | "Run" >> beam.Map(run_command)


def run_command(arguments: tuple[str, ...]) -> str:
    """Runs one and passes what it says on to the worker's log.

    A runner tries again what has failed, and may work an element twice: the lease in the store keeps runs apart.

    Raises:
        RuijiError: it did not end with 0; holds the last of what it said.
    """
    command = [sys.executable, "-m", "pipelines.cli", *arguments, "--json"]
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            _LOGGER.info("%s", line.rstrip("\n"))
            said = [*said[1 - _LAST_LINES :], line]
    if process.returncode:
        raise RuijiError(f"ruiji {' '.join(arguments)} ended with {process.returncode}:\n{''.join(said)}")
    return said[-1].rstrip("\n") if said else ""
