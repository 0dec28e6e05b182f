"""Beam's file systems as the room of media sees them: which are there, what they cannot do, what their errors mean."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions

from sim_transforms.beam_files import BeamFiles
from sim_transforms.errors import ConfigError, MediaError


class Failing(LocalFileSystem):
    """`failing://` has directories and raises what it is told to."""

    error: Exception = OSError()

    @classmethod
    def scheme(cls) -> str:
        return "failing"

    def open(self, path: str, *options: Any, **more: Any) -> Any:
        raise self.error

    def metadata(self, path: str) -> Any:
        raise BeamIOError("Metadata operation failed", {path: self.error})


class Coded(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


@pytest.fixture(autouse=True)
def _options() -> Iterator[None]:
    before = FileSystems._pipeline_options
    yield
    FileSystems.set_options(before)


def test_schemes_of_beam_are_read_and_no_others() -> None:
    files = BeamFiles()
    assert [files.reads(f"{scheme}://b/a") for scheme in ("gs", "s3", "hdfs", "ftp", "GS")] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Coded(404), "missing"),
        (FileNotFoundError("gone"), "missing"),
        (BeamIOError("File not found: failing://b/a"), "missing"),
        (Coded(403), "forbidden"),
        (Coded(401), "forbidden"),
        (PermissionError("no"), "forbidden"),
        (ValueError("no such path"), "bad_uri"),
        (Coded(503), "unreadable"),
        (AssertionError("Missing `boto3` requirement"), "unreadable"),
    ],
)
def test_errors_of_file_systems_become_reasons(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(MediaError) as found:
        BeamFiles().fetch("failing://b/a", tmp_path / "a", None)
    assert found.value.reason == reason
    if reason == "missing":
        assert BeamFiles().status("failing://b/a") is None
        return
    with pytest.raises(MediaError) as found:
        BeamFiles().status("failing://b/a")
    assert found.value.reason == reason


def test_file_systems_with_directories_are_not_listed() -> None:
    with pytest.raises(MediaError, match="no sub-folders of failing://"):
        BeamFiles().list("failing://b/a")


def test_options_are_made_once_and_told_to_beam(tmp_path: Path) -> None:
    made = []

    def options() -> PipelineOptions:
        made.append(PipelineOptions(["--job_name=told"]))
        return made[-1]

    files = BeamFiles(options)
    assert files.reads("failing://b/a")
    assert not made
    files.prepare("failing://b/a")
    files.prepare("failing://b/a")
    assert made == [FileSystems._pipeline_options]


def test_mistakes_in_the_options_stay_what_they_are() -> None:
    def options() -> PipelineOptions:
        raise ConfigError("configuration", "beam.speed", "no Beam pipeline option", "see Beam's options")

    with pytest.raises(ConfigError):
        BeamFiles(options).status("failing://b/a")
