"""Peak memory of workers as data."""

import os
import subprocess
import sys

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from sim_transforms.worker_usage import (
    PeakOfWorkers,
    SharesOfWorkers,
    WorkerPeak,
    WorkerShare,
    peak_rss_bytes,
    worker_peak,
)

OPTIONS = PipelineOptions(["--runner=FnApiRunner", "--direct_running_mode=in_memory"])


def test_peak_of_workers_keeps_the_largest_report_of_each_process() -> None:
    reports = [
        WorkerPeak("a", 1, 10, "build"),
        WorkerPeak("a", 1, 30, "link"),
        WorkerPeak("a", 1, 30, "merge"),
        WorkerPeak("a", 2, 5, "build"),
        WorkerPeak("b", 1, 7, "build"),
    ]
    wanted = [WorkerPeak("a", 1, 30, "link"), WorkerPeak("a", 2, 5, "build"), WorkerPeak("b", 1, 7, "build")]
    with beam.Pipeline(options=OPTIONS) as pipeline:
        assert_that(pipeline | beam.Create(reports) | PeakOfWorkers(), equal_to(wanted))


def test_shares_of_workers_count_the_reports_of_each_stage_and_process() -> None:
    reports = [WorkerPeak("a", 1, 30, "link"), *[WorkerPeak("a", 1, size, "build") for size in (10, 20, 30)]]
    wanted = [WorkerShare("link", "a", 1, 1), WorkerShare("build", "a", 1, 3), WorkerShare("build", "b", 1, 1)]
    with beam.Pipeline(options=OPTIONS) as pipeline:
        shares = pipeline | beam.Create([*reports, WorkerPeak("b", 1, 7, "build")]) | SharesOfWorkers()
        assert_that(shares, equal_to(wanted))


def test_worker_peak_is_of_this_process_and_follows_its_memory() -> None:
    before = worker_peak("build")
    held = np.ones(2**27 // 8)
    after = worker_peak("build")
    assert held.nbytes == 2**27
    assert (after.pid, after.stage) == (os.getpid(), "build")
    # A peak that the process had before may hide a part of it.
    assert after.peak_rss_bytes >= before.peak_rss_bytes > 2**24


def test_peak_rss_of_a_small_process_is_not_that_of_its_large_parent() -> None:
    held = np.ones(2**29 // 8)
    code = "from sim_transforms.worker_usage import peak_rss_bytes as p; print(p())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < held.nbytes < peak_rss_bytes()
