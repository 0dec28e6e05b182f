import sys

import pytest

from benchmarks.processes import run_measured

# Holds 64 MiB in a process under it whose command line names Beam's worker, and works for a while.
_CHILD = "import time; held = b'1' * 2**26; time.sleep(0.8)"
_PARENT = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {_CHILD!r}, "sdk_worker_main"], check=True)
end = time.process_time() + 0.3
while time.process_time() < end: pass
print("done")
"""


def test_measured_command_with_a_worker_tells_the_memory_of_both_apart() -> None:
    finished = run_measured([sys.executable, "-c", _PARENT])
    assert finished.output == "done\n"
    assert 2**26 < finished.peaks.worker_rss < 2**27
    assert 2**20 < finished.peaks.main_rss < 2**26
    assert finished.peaks.all_pss > 2**26
    assert 0.25 < finished.cpu_seconds < finished.seconds * 2


def test_measured_command_without_workers_has_a_main_process_alone() -> None:
    finished = run_measured([sys.executable, "-c", "import time; time.sleep(0.2)"])
    assert finished.peaks.worker_rss == 0
    assert finished.peaks.main_rss > 2**20


def test_measured_command_that_fails_ends_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match=r"(?s)exit code 3.*the reason"):
        run_measured([sys.executable, "-c", "import sys; sys.stderr.write('the reason'); sys.exit(3)"])
