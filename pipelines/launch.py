"""What a launcher of Dataflow Flex Templates starts: a job of one element, on whose worker a command of `ruiji` runs.

A launcher has a program build one graph, which it stages at --template_location; the service starts the job when the
program has ended. `ruiji` works by several jobs and reads between them what they have written: it cannot be that
program. On the worker it uses all cores of the machine, or the runner that --beam names.

python configs/dataflow/launch.py --config=/opt/ruiji/catalog.yaml --store=gs://bucket/store --runner=DataflowRunner ...
"""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.cli import parser
from sim_transforms.errors import RuijiError, UsageError
from sim_transforms.run_command import RunCommand

_COMMANDS = ("reindex", "run", "index", "preprocess", "evaluate")
# The command is one element: further machines would wait. What is launched with comes later on the line, and counts.
_ONE_MACHINE = ("--num_workers=1", "--max_num_workers=1")


def main(argv: Sequence[str]) -> int:
    """Builds the job and starts it, or stages it where --template_location is given; gives the exit code."""
    given, flags = _parser().parse_known_args(list(argv))
    try:
        arguments = command_line(given)
    except RuijiError as error:
        sys.stderr.write(f"ruiji: error: {error}\n")
        return error.exit_code
    # Which flags a launcher gives is the service's to say: Beam warns of what it does not know.
    with beam.Pipeline(options=PipelineOptions([*_ONE_MACHINE, *flags])) as pipeline:
        pipeline | "Command" >> beam.Create([arguments]) | "RunCommand" >> RunCommand()
    return 0


def command_line(given: argparse.Namespace) -> tuple[str, ...]:
    """Arguments of `ruiji`.

    Raises:
        UsageError: the command does not take one of them.
    """
    pairs = [("--config", given.config), ("--workdir", given.workdir), ("--store", given.store)]
    pairs += [("--set", override) for override in _overrides(given.set)]
    own = [given.command, *(word for name, value in pairs if value for word in (name, value))]
    _, unknown = parser().parse_known_args(own)
    if unknown:
        raise UsageError(f"`ruiji {given.command}` takes no {unknown[0]}")
    return (*own, *shlex.split(given.beam))


def _overrides(joined: str) -> list[str]:
    """KEY=VALUE;KEY=VALUE cut at each semicolon that no backslash is before."""
    return [override.replace(r"\;", ";") for override in re.split(r"(?<!\\);", joined)]


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="launch.py", allow_abbrev=False)
    found.add_argument("--command", default="reindex", choices=_COMMANDS, help="of ruiji")
    found.add_argument("--config", required=True, help="configuration of the catalog, a path in the image")
    found.add_argument("--workdir", help="folder of the artefacts on the worker (default: the configuration's)")
    found.add_argument("--store", help="published versions, gs://BUCKET/PREFIX (default: the configuration's)")
    found.add_argument(
        "--set", default="", help=r"KEY=VALUE;KEY=VALUE: overrides of the configuration; \; stands within a value"
    )
    found.add_argument("--beam", default="", help="Beam flags of the command itself (default: all cores of the worker)")
    return found


def console() -> NoReturn:
    """Entry point of configs/dataflow/launch.py."""
    sys.exit(main(sys.argv[1:]))
