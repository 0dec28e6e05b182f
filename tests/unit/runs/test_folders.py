"""Folders appear whole or not at all, stages run again when anything changed, one run a working directory."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sim_transforms.errors import Detached, RuijiError, UsageError
from sim_transforms.records.ledger import LedgerTotals
from sim_transforms.records.manifests import ExportManifest, NeighborsManifest
from sim_transforms.runs.digests import code_digest
from sim_transforms.runs.folders import is_whole, output_folder, recover, staged_folder
from sim_transforms.runs.lock import workdir_lock
from sim_transforms.runs.stages import scratch_folder
from sim_transforms.runs.state import StageState
from sim_transforms.storage.checksums import file_entry

_KILLED = """
import os, signal, sys
from pathlib import Path
real, seen = os.rename, []
def rename(a, b):
    if len(seen) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    seen.append(b)
    real(a, b)
os.rename = rename
from sim_transforms.runs.folders import staged_folder
with staged_folder(Path(sys.argv[2])) as folder:
    (folder / "manifest.json").write_text("{}")
    (folder / "content").write_text("new")
"""


def _artefact(folder: Path, content: str) -> None:
    with staged_folder(folder) as temporary:
        (temporary / "content").write_text(content)
        entry = {"name": "content", "size_bytes": len(content)}
        (temporary / "manifest.json").write_text(json.dumps({"files": [entry]}))


def _fail_half_way(target: Path) -> None:
    with staged_folder(target) as folder:
        (folder / "content").write_text("half")
        raise ZeroDivisionError


def test_staged_folder_failure_leaves_the_old_one(tmp_path: Path) -> None:
    _artefact(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError):
        _fail_half_way(tmp_path / "a")
    assert (tmp_path / "a" / "content").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_folders_of_a_detached_job_stay_until_the_next_run(tmp_path: Path) -> None:
    with pytest.raises(Detached), staged_folder(tmp_path / "a") as folder, scratch_folder(tmp_path, "embed") as scratch:
        raise Detached
    assert folder.is_dir()
    assert scratch.is_dir()
    _artefact(tmp_path / "a", "new")
    with scratch_folder(tmp_path, "embed"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(("renames", "left"), [(0, "old"), (1, "new"), (2, "new")])
def test_staged_folder_killed_at_each_rename_is_recovered_whole(renames: int, left: str, tmp_path: Path) -> None:
    _artefact(tmp_path / "a", "old")
    arguments = [sys.executable, "-c", _KILLED, str(renames), str(tmp_path / "a")]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    recover(tmp_path / "a")
    assert (tmp_path / "a" / "content").read_text() == left
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_is_whole_missing_or_short_file_is_not(tmp_path: Path) -> None:
    _artefact(tmp_path / "a", "content")
    assert is_whole(tmp_path / "a")
    (tmp_path / "a" / "content").write_text("cont")
    assert not is_whole(tmp_path / "a")
    (tmp_path / "a" / "content").unlink()
    assert not is_whole(tmp_path / "a")


def test_stage_state_is_done_until_digest_or_output_changes(tmp_path: Path) -> None:
    state = StageState(tmp_path)
    _artefact(tmp_path / "a", "content")
    state.record("stage", "digest", tmp_path / "a", {"n": 1})
    assert state.done("stage", "digest")
    assert state.value("stage") == {"n": 1}
    assert not state.done("stage", "other")
    assert not state.done("other", "digest")
    (tmp_path / "a" / "further").write_text("x")
    assert not state.done("stage", "digest")


def test_stage_state_torn_file_means_not_done(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "stage.json").write_text('{"digest": "d"')
    assert not StageState(tmp_path).done("stage", "d")


def test_stage_state_moved_working_directory_is_still_done(tmp_path: Path) -> None:
    _artefact(tmp_path / "w" / "a", "content")
    StageState(tmp_path / "w").record("stage", "digest", tmp_path / "w" / "a", {})
    (tmp_path / "w").rename(tmp_path / "moved")
    assert StageState(tmp_path / "moved").done("stage", "digest")


def test_workdir_lock_second_run_is_refused(tmp_path: Path) -> None:
    with workdir_lock(tmp_path), pytest.raises(RuijiError, match="in use by another run"), workdir_lock(tmp_path):
        pass
    with workdir_lock(tmp_path):
        pass


def test_code_digest_differs_between_modules_and_is_stable() -> None:
    assert code_digest(["sim_transforms.hnsw"]) == code_digest(["sim_transforms.hnsw"])
    assert code_digest(["sim_transforms.hnsw"]) != code_digest(["sim_transforms.media"])


def _exported(folder: Path) -> None:
    with output_folder(folder, ExportManifest) as new:
        (new / "part-00000.parquet").write_bytes(b"data")
        ledger = LedgerTotals(1, 1, 0, 0)
        manifest = ExportManifest("v", "parquet", ledger, (file_entry(new, "part-00000.parquet"),))
        (new / "manifest.json").write_text(manifest.text())


def test_output_takes_the_place_of_an_earlier_one_of_its_kind_and_of_nothing_else(tmp_path: Path) -> None:
    for place in (tmp_path / "new" / "out", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        _exported(place)
        _exported(place)
        assert sorted(path.name for path in place.iterdir()) == ["manifest.json", "part-00000.parquet"]
    with pytest.raises(UsageError, match="holds manifest"), output_folder(place, NeighborsManifest):
        pass
    (place / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"holds mine\.txt"):
        _exported(place)
    assert (place / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["store/versions/a/index.hnsw", "a.jpg", ".hidden", "manifest.json"])
def test_output_of_a_folder_of_other_things_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"\xff")
    for target in (tmp_path, tmp_path / name):
        with pytest.raises(UsageError, match="which no earlier output"):
            _exported(target)
    assert (tmp_path / name).read_bytes() == b"\xff"


def test_output_of_folders_without_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "someone's").mkdir(parents=True)
    with pytest.raises(UsageError, match="someone's"):
        _exported(tmp_path / "out")
