"""Dockerfile and template of Dataflow, as far as they can be read without Docker: sources, versions, parameters."""

import fnmatch
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipelines.cli import COMMANDS
from pipelines.launch import _COMMANDS, _parser
from sim_transforms.commands.doctor import check_dataflow, is_healthy
from sim_transforms.options import pipeline_options
from sim_transforms.resource_hints import asking
from sim_transforms.settings.loader import load_settings

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
CUDA = (ROOT / "configs" / "dataflow" / "cuda.lock").read_text()


def _instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in order, continued lines joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in pairs]


def _all(name: str) -> list[str]:
    return [rest for found, rest in _instructions() if found == name]


def _copied() -> list[tuple[list[str], str]]:
    """Sources in this repository, and where they go."""
    words = [shlex.split(rest) for rest in _all("COPY") if not rest.startswith("--from=")]
    return [(each[:-1], each[-1]) for each in words]


def _locked(name: str, lock: str = LOCK) -> str:
    (version,) = re.findall(rf"^{re.escape(name)}==(\S+) \\$", lock, re.MULTILINE)
    return str(version)


def test_every_source_is_in_the_repository_and_not_ignored() -> None:
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignore[0] == "*"
    kept = [line[1:] for line in ignore if line.startswith("!")]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sources = [source for found, _ in _copied() for source in found]
    assert len(sources) >= 7
    for source in sources:
        assert any(name == source or name.startswith(f"{source}/") for name in tracked), source
        assert any(source == name or source.startswith(f"{name}/") for name in kept), source
    assert all(any(source == name or source.startswith(f"{name}/") for source in sources) for name in kept)


def test_packages_of_the_distribution_are_all_copied() -> None:
    packages = re.findall(r'^    "(\w+)",$', (ROOT / "setup.py").read_text().split("]")[0], re.MULTILINE)
    assert packages == ["pipelines", "sim_transforms", "trainer"]
    assert {name for found, _ in _copied() for name in found} >= {*packages, "setup.py", "pyproject.toml"}


def test_beam_and_python_are_those_of_the_lock_file() -> None:
    arguments = dict(rest.split("=") for rest in _all("ARG"))
    assert arguments["BEAM"] == _locked("apache-beam")
    images = [rest.split()[0] for rest in _all("FROM")]
    assert images[0] == "apache/beam_python3.11_sdk:${BEAM}"
    assert "python311" in images[1]
    assert images[2].startswith("python:3.11-slim")
    assert 'python_requires=">=3.11,<3.12"' in (ROOT / "setup.py").read_text()


def test_all_that_is_installed_comes_from_locks_with_hashes() -> None:
    runs = " && ".join(_all("RUN"))
    installs = [part for part in runs.split("&&") if " install " in part]
    files = {found for part in installs for found in re.findall(r" -r ([\w.]+)", part)}
    assert files == {"uv.lock", "requirements.lock", "cuda.lock"}
    for part in installs:
        if " -r " in part:
            assert "--require-hashes" in part
        else:
            assert part.split()[-1] == "./source"
        assert "--no-deps" in part
    assert "apt" not in runs
    assert "pip check" in runs


def test_what_is_taken_out_is_for_tests_alone() -> None:
    (removed,) = re.findall(r"uv pip uninstall --system ([\w\- ]+)", "\n".join(_all("RUN")))
    names = removed.split()
    assert len(names) >= 5
    for name in names:
        (entry,) = re.findall(rf"^{name}==[^\n]+\n(?: .*\n)+", LOCK, re.MULTILINE)
        needed_by = set(re.findall(r"^    #\s+(?:via )?([\w\-]+)", entry, re.MULTILINE)) - {"via"}
        assert needed_by <= {"ruiji", *names}, (name, needed_by)
        is_ours = re.search(rf'"{name}[">]', (ROOT / "setup.py").read_text().split("DEV_REQUIREMENTS")[1])
        assert is_ours or needed_by <= set(names), name


def test_cuda_is_that_of_the_locked_tensorflow() -> None:
    assert f"'tensorflow[and-cuda]=={_locked('tensorflow')}'" in CUDA
    names = re.findall(r"^([\w\-]+)==", CUDA, re.MULTILINE)
    assert len(names) >= 10
    assert all(name.startswith("nvidia-") for name in names)
    assert CUDA.count("--hash=sha256:") >= len(names)
    assert not set(names) & set(re.findall(r"^([\w\-]+)==", LOCK, re.MULTILINE))


def test_one_image_serves_workers_launcher_and_command() -> None:
    assert _instructions()[-1] == ("ENTRYPOINT", '["/opt/apache/beam/boot"]')
    from_others = [rest.split() for rest in _all("COPY") if rest.startswith("--from=")]
    assert ["--from=beam", "/opt/apache/beam", "/opt/apache/beam"] in from_others
    launcher = "/opt/google/dataflow/python_template_launcher"
    assert ["--from=launcher", launcher, launcher] in from_others
    variables = dict(pair.split("=", 1) for rest in _all("ENV") for pair in shlex.split(rest))
    (folder,) = _all("WORKDIR")
    assert variables["FLEX_TEMPLATE_PYTHON_PY_FILE"] == f"{folder}/launch.py"
    assert (["configs/dataflow/launch.py"], "./") in _copied()
    assert variables["RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT"] == "1"
    # Several processes of a machine share its accelerator.
    assert variables["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert "ruiji --help" in " ".join(_all("RUN"))


TEMPLATE = json.loads((ROOT / "configs" / "dataflow" / "metadata.json").read_text())
GOOD = {
    "config": ["/opt/ruiji/catalog.yaml", "/opt/c.yml"],
    "sdk_container_image": ["europe-west1-docker.pkg.dev/p/ruiji/ruiji:1", f"r.dev/p/r@sha256:{'0a' * 32}"],
    "store": ["gs://bucket/store"],
    "workdir": ["/opt/ruiji/work"],
    "command": list(_COMMANDS),
    "set": ["index.m=24", "index.m=24;train.loss=proxy_anchor", "store=gs://bucket/store"],
    "beam": ["--runner=DataflowRunner --project=p"],
}
BAD = {
    "config": ["gs://bucket/catalog.yaml", "catalog.json"],
    "sdk_container_image": ["ruiji", "r.dev/p/ruiji", "host:5000/ruiji"],
    "store": ["bucket/store", "gs://bucket"],
    "workdir": ["work", "gs://bucket/work"],
    "command": ["serve", ""],
    "set": ["index.m", "index.m=24;", "a b=1"],
    "beam": ["runner=DataflowRunner"],
}


def test_template_parameters_are_those_of_the_program() -> None:
    assert (TEMPLATE["name"], bool(TEMPLATE["description"])) == ("ruiji", True)
    names = {each["name"] for each in TEMPLATE["parameters"]}
    own = {action.dest for action in _parser()._actions if action.dest != "help"}
    assert names == own | {"sdk_container_image"}
    required = {each["name"] for each in TEMPLATE["parameters"] if not each.get("isOptional")}
    assert required == {"config", "sdk_container_image"}
    assert pipeline_options(["--sdk_container_image=image"], {}, []).get_all_options()["sdk_container_image"]
    assert all(each["label"] and each["helpText"] for each in TEMPLATE["parameters"])
    assert set(_COMMANDS) <= {command.name for command in COMMANDS if command.beam}


@pytest.mark.parametrize("parameter", TEMPLATE["parameters"], ids=lambda each: each["name"])
def test_template_patterns_take_what_is_right_and_refuse_what_is_not(parameter: dict[str, object]) -> None:
    (pattern,) = parameter["regexes"]  # type: ignore[misc]
    name = str(parameter["name"])
    assert [each for each in GOOD[name] if not re.fullmatch(pattern, each)] == []
    assert [each for each in BAD[name] if re.fullmatch(pattern, each)] == []


def test_configuration_is_one_that_is_taken_and_well() -> None:
    text = (ROOT / "configs" / "dataflow.yaml").read_text()
    settings = load_settings(str(ROOT / "configs" / "dataflow.yaml"), (), None, None)
    assert settings.beam["shared_filesystem"] is True
    options = pipeline_options([], settings.beam, [])
    assert is_healthy(check_dataflow(options.get_all_options()))
    assert [each.status for each in check_dataflow(options.get_all_options())] == ["ok"] * 4
    assert (asking(options).at_once, options.get_all_options()["use_public_ips"]) == (4, False)
    (accelerator,) = re.findall(r'# (embed_accelerator: ".*")', text)
    given = accelerator.split(": ")[1].strip('"')
    assert asking(pipeline_options([], {**settings.beam, "embed_accelerator": given}, [])).accelerator == given


def test_ignore_patterns_leave_no_rubbish_in_the_image() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert any(fnmatch.fnmatch("pipelines/__pycache__", each) for each in patterns if each.startswith("**"))
