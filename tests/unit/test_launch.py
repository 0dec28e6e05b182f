"""The program of the Flex Template: which command line it makes, and what it refuses."""

from pathlib import Path

import pytest

from pipelines.launch import _parser, command_line, main
from sim_transforms.errors import RuijiError
from sim_transforms.run_command import run_command


def _made(*flags: str) -> tuple[str, ...]:
    return command_line(_parser().parse_known_args([*flags, "--project=p"])[0])


def test_command_line_is_reindex_with_what_is_given() -> None:
    assert _made("--config=c.yaml") == ("reindex", "--config", "c.yaml")
    given = ("--config=c.yaml", "--workdir=/w", "--store=gs://b/s", "--set=index.m=24;search.probe=2")
    expected = ("--workdir", "/w", "--store", "gs://b/s", "--set", "index.m=24", "--set", "search.probe=2")
    assert _made(*given) == ("reindex", "--config", "c.yaml", *expected)
    of_two = _made("--config=c.yaml", r"--set=catalog.source=a\;b;index.m=24")
    assert of_two[3:] == ("--set", "catalog.source=a;b", "--set", "index.m=24")


def test_beam_flags_of_the_command_come_last() -> None:
    made = _made("--command=run", "--config=c.yaml", "--beam=--runner=DataflowRunner '--job_name=a b'")
    assert made == ("run", "--config", "c.yaml", "--runner=DataflowRunner", "--job_name=a b")


def test_what_the_command_does_not_take_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--command=run", "--config=c.yaml", "--store=gs://bucket/store"]) == 2
    assert "`ruiji run` takes no --store" in capsys.readouterr().err


def test_command_that_fails_on_the_worker_fails_the_job(tmp_path: Path) -> None:
    with pytest.raises(RuijiError, match=r"ended with 2:\n.*nowhere\.yaml"):
        run_command(("reindex", "--config", str(tmp_path / "nowhere.yaml")))
