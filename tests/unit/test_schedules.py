"""The files in configs/schedules: they parse, and every command line in them is one that `ruiji` takes."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines.cli import parser
from pipelines.launch import _parser as launch_parser
from pipelines.launch import command_line

FOLDER = Path(__file__).parents[2] / "configs" / "schedules"
FILES = ("ruiji.cron", "ruiji-reindex.service", "cronjob.yaml", "airflow_dag.py")


def _commands(text: str) -> list[list[str]]:
    """Arguments of every `.../ruiji ...` in a text, `{CONFIG}` and `$RUIJI_CONFIG` filled in."""
    filled = text.replace("{CONFIG}", "c.yaml").replace('"$RUIJI_CONFIG"', "c.yaml")
    found = re.findall(r"\.venv/bin/ruiji ([^\n&\"]+)", filled)
    return [shlex.split(line) for line in found]


@pytest.mark.parametrize("name", [name for name in FILES if name != "cronjob.yaml"])
def test_schedule_commands_are_taken_by_the_command_line(name: str) -> None:
    commands = _commands((FOLDER / name).read_text())
    assert [command[0] for command in commands] == ["reindex", "versions"]
    for command in commands:
        given, further = parser().parse_known_args(command)
        assert further == []
        assert given.json


def test_cronjob_runs_one_reindex_at_a_time() -> None:
    job = yaml.safe_load((FOLDER / "cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    # The image's own entry point is for Dataflow's workers.
    assert container["command"] == ["ruiji"]
    given, further = parser().parse_known_args(container["args"])
    assert (given.command, further) == ("reindex", [])
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]}
    assert mounts == volumes


def test_cron_line_has_five_fields_and_a_user() -> None:
    lines = [line for line in (FOLDER / "ruiji.cron").read_text().splitlines() if re.match(r"[\d*]", line)]
    (fields,) = [line.split(maxsplit=6) for line in lines]
    assert fields[:6] == ["15", "2", "*", "*", "*", "ruiji"]


def test_cloud_scheduler_launches_reindex_with_flags_that_it_takes() -> None:
    text = (FOLDER / "cloud-scheduler.sh").read_text()
    launched = json.loads(text.split("<<EOF\n")[1].split("\nEOF")[0])["launchParameter"]
    given, further = launch_parser().parse_known_args([f"--{k}={v}" for k, v in launched["parameters"].items()])
    assert command_line(given)[:3] == ("reindex", "--config", "/opt/ruiji/catalog.yaml")
    # What the template does not know itself is Beam's.
    assert further == ["--sdk_container_image=$IMAGE"]
    assert launched["jobName"] == "ruiji-reindex"
    checked = subprocess.run(["sh", "-n", FOLDER / "cloud-scheduler.sh"], check=False, capture_output=True, text=True)
    assert checked.stderr == ""
