"""Peak memory and shares of the worker processes, reported by themselves as data, for timings.json.

Counters cannot hold it: a runner sums them, and counts retried bundles again.
"""

import os
import platform
import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam

_STATUS = Path("/proc/self/status")


class WorkerPeak(NamedTuple):
    """A process's largest resident memory so far.

    Attributes:
        host, pid: of the process.
        peak_rss_bytes: its largest resident memory since it started.
        stage: that reported it.
    """

    host: str
    pid: int
    peak_rss_bytes: int
    stage: str


def worker_peak(stage: str) -> WorkerPeak:
    """What a DoFn emits after its work; `stage` names it."""
    return WorkerPeak(platform.node(), os.getpid(), peak_rss_bytes(), stage)


def peak_rss_bytes() -> int:
    """Largest resident memory of this process.

    From the kernel's VmHWM where there is one: `ru_maxrss` of a process that another one started begins at the peak of
    its parent, so that a small worker would report the driver.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass
class PeakOfWorkers(beam.PTransform):
    """WorkerPeaks -> one WorkerPeak a process: the largest, at the stage that reported it."""

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, peaks: beam.PCollection[WorkerPeak]) -> beam.PCollection[WorkerPeak]:
        """Groups by process and keeps the largest."""
        return (
            peaks
            | "ByProcess" >> beam.Map(by_process)
            | "Largest" >> beam.CombinePerKey(largest)
            | "Peaks" >> beam.Values()
        )


class WorkerShare(NamedTuple):
    """How many elements a process has done in a stage.

    Attributes:
        stage: that reported them.
        host, pid: of the process.
        elements: reports of it, those of retried bundles too.
    """

    stage: str
    host: str
    pid: int
    elements: int


@dataclass
class SharesOfWorkers(beam.PTransform):
    """WorkerPeaks -> one WorkerShare a stage and process."""

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, peaks: beam.PCollection[WorkerPeak]) -> beam.PCollection[WorkerShare]:
        """Counts."""
        return (
            peaks
            | "ByStage" >> beam.Map(by_stage)
            | "Count" >> beam.combiners.Count.PerElement()
            | "Shares" >> beam.MapTuple(share_of)
        )


def by_stage(peak: WorkerPeak) -> tuple[str, str, int]:
    """The stage and the process of a report."""
    return peak.stage, peak.host, peak.pid


def share_of(who: tuple[str, str, int], elements: int) -> WorkerShare:
    """The share of a stage and process."""
    return WorkerShare(*who, elements)


def by_process(peak: WorkerPeak) -> tuple[tuple[str, int], WorkerPeak]:
    """Keys a report by its process."""
    return (peak.host, peak.pid), peak


def largest(peaks: Iterable[WorkerPeak]) -> WorkerPeak:
    """The report of the most bytes; of equal ones the first stage by name."""
    return min(peaks, key=_order)


def _order(peak: WorkerPeak) -> tuple[int, str]:
    return -peak.peak_rss_bytes, peak.stage
