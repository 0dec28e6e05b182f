"""What every main shares: settings, Beam options, progress on standard error, the answer on standard output."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sim_transforms.errors import UsageError
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import Settings

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from tqdm import tqdm

    from sim_transforms.media.remote import RemoteFiles

_LINE_SECONDS = 10.0
# Steps from which a rate is told.
_FEW = 10


@dataclass
class Main:
    """A command that is running: its arguments, settings, and where it speaks."""

    arguments: argparse.Namespace
    beam_flags: list[str]
    own_flags: list[str] = field(default_factory=list)
    _settings: Settings | None = field(default=None, init=False, repr=False)

    def settings(self) -> Settings:
        """The configuration with its overrides, read once."""
        if self._settings is None:
            self._settings = self._read_settings()
        return self._settings

    def _read_settings(self) -> Settings:
        given = self.arguments
        if not given.config and not getattr(given, "embeddings", None):
            raise UsageError("--config FILE is required: the configuration of the catalog")
        return load_settings(given.config, given.set or (), given.workdir, getattr(given, "store", None))

    def options(self, settings: Settings, *, anywhere: bool = False) -> "PipelineOptions":
        """Beam's options; imports Beam.

        Raises:
            UsageError: workers would not see the working directory, where that is looked at (`anywhere` is false).
        """
        from sim_transforms.options import check_reach, name_jobs

        options = self._options(settings.beam)
        name_jobs(options, settings.name)
        if not anywhere:
            check_reach(options, bool(settings.beam.get("shared_filesystem")), settings.workdir)
        return options

    def _options(self, section: Mapping[str, Any]) -> "PipelineOptions":
        from sim_transforms.options import pipeline_options

        return pipeline_options(self.beam_flags, section, self.own_flags)

    def files(self, settings: Settings | None) -> "RemoteFiles":
        """File systems that uris with a scheme name, by the configuration's Beam options if there is one."""
        from sim_transforms.beam_files import BeamFiles

        return BeamFiles(partial(self._options, settings.beam if settings is not None else {}))

    def check_flags(self, settings: Settings) -> None:
        """Refuses unknown Beam flags before any work, without importing Beam where none are given."""
        if self.beam_flags or settings.beam:
            self.options(settings)

    def notify(self, message: str) -> None:
        """One line of progress."""
        notify(message)

    def answer(self, result: Mapping[str, Any], text: str) -> None:
        """The answer: one JSON object as the last line with --json, else text for people."""
        shown = json.dumps(result, ensure_ascii=False, allow_nan=False) if self.arguments.json else text
        sys.stdout.write(shown.rstrip("\n") + "\n")


class Terminated(KeyboardInterrupt):
    """SIGTERM: somebody who cannot be asked, such as a scheduler, ends the command."""


_SAYS_PROGRESS = True


def say_progress(wanted: bool) -> None:
    """Whether lines and bars of progress are shown from here on (`--quiet`)."""
    global _SAYS_PROGRESS
    _SAYS_PROGRESS = wanted


def notify(message: str) -> None:
    """One line of progress on standard error."""
    if not _SAYS_PROGRESS:
        return
    sys.stderr.write(f"ruiji: {message}\n")
    sys.stderr.flush()


class Progress:
    """Steps of a long computation: a bar on a terminal, else a line every ten seconds, with the rate and what is left.

    Args:
        main: the command.
        unit: what is counted.
        goes_on: the first report tells what an earlier run had done, which the rate does not count.
    """

    def __init__(self, main: Main, unit: str = "steps", *, goes_on: bool = False) -> None:
        """Shows nothing yet."""
        self._main, self._unit = main, unit
        self._began = self._last = time.monotonic()
        self._before = None if goes_on else 0
        self._told = -1
        self._bar: tqdm[Any] | None = None

    def __call__(self, name: str, step: int, total: int, rejected: int = 0) -> None:
        """Reports that `step` of `total` is done, `rejected` of them without success."""
        if self._before is None:
            self._before, self._began = step, time.monotonic()
        if not _SAYS_PROGRESS:
            return None
        if sys.stderr.isatty():
            return self._draw(name, step, total, rejected)
        is_due = time.monotonic() - self._last >= _LINE_SECONDS and step != self._told
        if is_due or step == total:
            self._last, self._told = time.monotonic(), step
            lost = f", {rejected:,} rejected" if rejected else ""
            self._main.notify(f"{name}: {step:,} of {total:,} {self._unit}{lost}{self._rate(step, total)}")
        return None

    def _rate(self, step: int, total: int) -> str:
        seconds, done = time.monotonic() - self._began, step - (self._before or 0)
        if done < min(_FEW, total) or not seconds:
            return ""
        rate = done / seconds
        left = f", {timedelta(seconds=round((total - step) / rate))} left" if step < total else ""
        return f", {rate:,.{0 if rate >= 10 else 1}f} a second{left}"

    def _draw(self, name: str, step: int, total: int, rejected: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=f" {self._unit}", desc=f"ruiji: {name}", dynamic_ncols=True)
        if rejected:
            self._bar.set_postfix(rejected=rejected, refresh=False)
        self._bar.update(step - self._bar.n)
        if step >= total:
            self._bar.close()
            self._bar = None


def no_progress(name: str, step: int, total: int, rejected: int = 0) -> None:
    """Where nobody looks."""


def quiet_libraries() -> None:
    """TensorFlow and its C++ libraries say much on standard error; workers inherit this."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # the default, said aloud so that TensorFlow does not
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in ("tensorflow", "apache_beam.runners.portability.local_job_service", "nmslib"):
        logging.getLogger(name).setLevel(logging.ERROR)


def steady_memory() -> None:
    """Makes the processes that are started from here give freed memory back to the system.

    Left alone, glibc raises the size from which it maps arrays for themselves, up to 32 MiB, and keeps the holes that
    shards of different sizes leave: workers grew with the number of shards they had seen. Read by glibc and Arrow at
    their start.
    """
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 * 2**20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(32 * 2**20))
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
