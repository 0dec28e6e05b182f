"""Beam pipeline options from command-line flags and the configuration's `beam` section, strictly.

Beam itself only warns of a flag that it does not know and goes on without it.
"""

import argparse
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from sim_transforms.errors import ConfigError, UsageError
from sim_transforms.quality.estimate import Workers

_ACCELERATOR = re.compile(r"type:[a-z0-9-]+;count:\d+(;[a-z0-9_:-]+)*")


class RuijiOptions(PipelineOptions):
    """Ours, beside Beam's: they stand in the `beam` section and on the command line as Beam's do."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--embed_accelerator",
            help="of the machines that embed, on Dataflow: type:nvidia-tesla-t4;count:1;install-nvidia-driver",
        )


def pipeline_options(flags: Sequence[str], section: Mapping[str, Any], own_flags: Sequence[str]) -> PipelineOptions:
    """Options of a job; where no runner is named, all cores of this machine by FnApiRunner's processes.

    Args:
        flags: from the command line, after our own have been taken out.
        section: `beam` of the configuration: option names without dashes; `shared_filesystem` is ours and no option.
        own_flags: of the command, for spelling suggestions.

    Raises:
        UsageError: a flag that no PipelineOptions class knows, with the nearest spelling; no accelerator.
        ConfigError: the same for a key of the section.
    """
    known = _known_flags()
    configured = _flags_of(section, known)
    _refuse_unknown(flags, known, own_flags)
    given = [*configured, *flags]
    if not any(flag.split("=")[0] == "--runner" for flag in given):
        given = [*_local_defaults(), *given]
    options = PipelineOptions(given)
    _check_accelerator(options.view_as(RuijiOptions).embed_accelerator)
    return options


def _check_accelerator(given: str | None) -> None:
    """Dataflow would say so when the machines are to start, after the stages before."""
    if given is not None and not _ACCELERATOR.fullmatch(given):
        raise UsageError(
            f"beam.embed_accelerator: found {given!r}; expected a form like "
            "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
        )


def name_jobs(options: PipelineOptions, catalog: str) -> None:
    """Names jobs by their catalog, where no name was chosen; `pipelines._job` adds which job it is.

    Dataflow takes 63 lower-case letters, digits and hyphens.
    """
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.job_name:
        cloud.job_name = re.sub("[^a-z0-9]+", "-", f"ruiji {catalog}".lower()).strip("-")[:50].rstrip("-")


def runner_of(options: PipelineOptions) -> str:
    """The runner's name without its module."""
    return str(options.get_all_options().get("runner") or "DirectRunner").rsplit(".", 1)[-1]


def threads_of_worker(options: PipelineOptions) -> int:
    """Threads for one worker process, so that the processes on its machine do not fight for its cores."""
    chosen = options.get_all_options()
    if runner_of(options) == "DataflowRunner":
        cores = cores_of_machine(chosen.get("machine_type"))
        return cores if shares_process(chosen) else 1
    cores = os.cpu_count() or 1
    if chosen.get("direct_running_mode") != "multi_processing":
        return cores
    return max(1, cores // max(1, int(chosen.get("direct_num_workers") or cores)))


def shares_process(chosen: Mapping[str, Any]) -> bool:
    """Whether the cores of a Dataflow worker share one SDK process; else each core has its own."""
    return "no_use_multiple_sdk_containers" in (chosen.get("experiments") or ())


def cores_of_machine(machine_type: str | None) -> int:
    """Cores of a Compute Engine machine type, as its name says: n2-standard-8, custom-4-16384; 2 where it does not."""
    if accelerated := re.fullmatch(r"a2-(?:high|ultra)gpu-(\d+)g", machine_type or ""):
        return 12 * int(accelerated[1])  # named by its accelerators
    found = re.search(r"-(\d+)(?:-\d+)?(?:-ext|-lssd)?$", machine_type or "")
    return int(found[1]) if found else _CORES


# Of a machine that Dataflow chooses.
_CORES = 2


def workers_of(options: PipelineOptions) -> Workers:
    """SDK processes that a job has side by side, as far as its options say; 1 where they do not."""
    chosen = options.get_all_options()
    if runner_of(options) in _LOCAL_RUNNERS:
        if chosen.get("direct_running_mode") != "multi_processing":
            return Workers(count=1, local=True, in_process=True)
        return Workers(count=int(chosen.get("direct_num_workers") or os.cpu_count() or 1), local=True)
    counts = [chosen.get(name) for name in ("max_num_workers", "num_workers", "parallelism")]
    machines = max(1, *(int(count or 0) for count in counts))
    of_dataflow = runner_of(options) == "DataflowRunner" and not shares_process(chosen)
    return Workers(count=machines * (cores_of_machine(chosen.get("machine_type")) if of_dataflow else 1), local=False)


_LOCAL_RUNNERS = ("DirectRunner", "FnApiRunner", "BundleBasedDirectRunner", "PrismRunner")


def runs_here(options: PipelineOptions) -> bool:
    """Whether the job runs on Beam's own local runner, in this process or in processes that it starts."""
    return runner_of(options) in ("FnApiRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner")


def check_reach(options: PipelineOptions, shared: bool, folder: str) -> None:
    """Refuses a job whose workers would look for files on disks of their own.

    Args:
        options: of the job.
        shared: `beam.shared_filesystem`: the user says that all workers see the folder under this path.
        folder: that jobs read and write.

    Raises:
        UsageError: the workers are on other machines, and nobody has said that they see the folder.
    """
    if shared or workers_are_here(options):
        return
    raise UsageError(
        f"--runner={runner_of(options)}: its workers may be on other machines, and read and write {folder}: put the "
        "working directory on a file system that all of them mount under this path, and set beam.shared_filesystem=true"
    )


def workers_are_here(options: PipelineOptions) -> bool:
    """Whether workers are this process, or started by it on this machine."""
    chosen, runner = options.get_all_options(), runner_of(options)
    if runner in _LOCAL_RUNNERS or runner == "SwitchingDirectRunner" or chosen.get("environment_type") == "LOOPBACK":
        return True
    local_master = str(chosen.get("flink_master") or "[auto]") in ("[auto]", "[local]", "[collection]")
    return runner == "FlinkRunner" and local_master and chosen.get("environment_type") is None


def _local_defaults() -> list[str]:
    cores = os.cpu_count() or 1
    mode = "multi_processing" if cores > 1 else "in_memory"
    return ["--runner=FnApiRunner", f"--direct_running_mode={mode}", f"--direct_num_workers={cores}"]


def _known_flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for kind in _option_classes(PipelineOptions):
        kind._add_argparse_args(_Once(parser))
    return parser


def _option_classes(kind: Any) -> list[Any]:
    below: list[Any] = sorted(kind.__subclasses__(), key=lambda k: (k.__module__, k.__name__))
    return [k for b in below for k in (b, *_option_classes(b))]


class _Once:
    """An argument parser to which the same flag may be added by several option classes."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def add_argument(self, *names: str, **options: Any) -> None:
        fresh = [n for n in names if n not in self._parser._option_string_actions]
        if fresh:
            options.update(required=False)
            self._parser.add_argument(*fresh, **options)

    def add_value_provider_argument(self, *names: str, **options: Any) -> None:
        self.add_argument(*names, **options)


def _refuse_unknown(flags: Sequence[str], known: argparse.ArgumentParser, own: Sequence[str]) -> None:
    _, unknown = known.parse_known_args(list(flags))
    if unknown:
        raise unknown_flag(unknown[0], [*known._option_string_actions, *own])


def unknown_flag(flag: str, known: Sequence[str]) -> UsageError:
    """The error for a flag that nobody knows, with the nearest spelling."""
    name = flag.split("=")[0]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return UsageError(
        f"unknown flag {name}{hint} (`ruiji COMMAND --help` lists ours, Beam's documentation the runners')"
    )


def _flags_of(section: Mapping[str, Any], known: argparse.ArgumentParser) -> list[str]:
    flags: list[str] = []
    for name, value in section.items():
        if name == "shared_filesystem":
            continue
        if f"--{name}" not in known._option_string_actions:
            near = difflib.get_close_matches(f"--{name}", list(known._option_string_actions), n=1, cutoff=0.5)
            hint = f"did you mean {near[0][2:]!r}? " if near else ""
            raise ConfigError("configuration", f"beam.{name}", "no Beam pipeline option", f"{hint}see Beam's options")
        flags += _flag(name, value, known)
    return flags


def _flag(name: str, value: Any, known: argparse.ArgumentParser) -> list[str]:
    if isinstance(value, bool):
        shown = f"--{name}" if value else f"--no_{name}"
        return [shown] if value or shown in known._option_string_actions else []
    if isinstance(value, (list, tuple)):
        return [f"--{name}={v}" for v in value]
    return [f"--{name}={value}"]
