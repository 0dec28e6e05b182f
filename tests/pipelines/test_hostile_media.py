"""80 hostile files end with exactly the accepts and rejects that are right, within bounds of time and memory."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from tests.pipelines.hostile_media import OK, hostile_files, write_hostile

LONGEST_SECONDS, LARGEST_BYTES = 90.0, round(1.2 * 2**30)
MEDIA = {
    "image": {"kind": "image", "height": 32, "width": 32, "channels": 3},
    "audio": {"kind": "audio", "sample_rate": 16000, "seconds": 1.0, "hop_seconds": 0.5, "max_seconds": 300.0},
}


def test_there_are_eighty_of_them() -> None:
    assert len({file.name for file in hostile_files()}) == len(hostile_files()) == 80


class _Watch(threading.Thread):
    """Largest resident memory of any process of a command."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root, self.largest = psutil.Process(pid), 0

    def run(self) -> None:
        while self._root.is_running():
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in processes:
                try:
                    self.largest = max(self.largest, process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_hostile_files_are_accepted_or_rejected_as_they_must(kind: str, tmp_path: Path) -> None:
    files = write_hostile(tmp_path / "media")
    config = tmp_path / "config.yaml"
    settings = {
        "name": "hostile",
        "workdir": str(tmp_path / "work"),
        "catalog": {"source": str(tmp_path / "media")},
        "media": MEDIA[kind],
        "preprocess": {"max_reject_share": 1.0},
    }
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "pipelines.cli", "preprocess", "--config", str(config), "--json"]
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    )
    watch = _Watch(process.pid)
    watch.start()
    output, _ = process.communicate(timeout=4 * LONGEST_SECONDS)
    assert process.returncode == 0
    assert time.monotonic() - began < LONGEST_SECONDS
    assert 0 < watch.largest < LARGEST_BYTES
    expected = {f"all/{file.name}": file.picture if kind == "image" else file.sound for file in files}
    examples = tmp_path / "work" / "examples"
    rejects = pq.read_table(examples / "rejects.parquet").to_pylist()
    found = {row["item_id"]: OK for row in pq.read_table(examples / "media.parquet").to_pylist()}
    assert not found.keys() & {row["item_id"] for row in rejects}
    found |= {row["item_id"]: row["reason"] for row in rejects}
    assert found == expected
    accepted = sum(reason == OK for reason in expected.values())
    ledger = json.loads(output.splitlines()[-1])["ledger"]
    assert ledger == {"items_in": 80, "items_out": accepted, "rejected": 80 - accepted, "skipped": 0}
    assert all(row["message"] for row in rejects)
