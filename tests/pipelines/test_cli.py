"""Usage and configuration mistakes: exit code 2, what was found, what is allowed, no stack trace."""

import errno
import json
import shlex
import subprocess
from pathlib import Path

import pytest

from pipelines._main import Main, Progress
from pipelines.cli import COMMANDS, Command, main, parser

DIGITS = str(Path(__file__).resolve().parents[2] / "configs" / "digits.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--config", DIGITS, "--set", "index.mm=3"], "did you mean 'm'?"),
        (["run", "--config", DIGITS, "--set", "train.epochs=many"], "train.epochs: found 'many'"),
        (["run", "--config", DIGITS, "--set", "index.space=cosinus"], "did you mean 'cosine'?"),
        (["run", "--config", DIGITS, "--set", "index.recall_target=1.5"], "a share above 0 and up to 1"),
        (["run", "--config", "configs/nowhere.yaml"], "configs/nowhere.yaml"),
        (["run", "--config", DIGITS, "--set", "catalog.source=nowhere.csv"], "there is no such file or folder"),
        (["run"], "--config"),
        (["runn"], "invalid choice"),
        (["search", "--store", "nowhere"], "exactly one of --media FILE, --item ID and --vector FILE.npy"),
        (["search", "--item", "a"], "give --store FOLDER"),
        (["search", "--store", "nowhere", "--itm", "a"], "did you mean --item?"),
        (["versions", "gc", "--store", "nowhere", "--keep", "many"], "argument --keep: invalid int value: 'many'"),
        (["versions", "gc", "--config", DIGITS, "--set", "versions.keep=0"], "versions.keep: found 0"),
        (["versions", "gcc", "--store", "nowhere"], "choose from 'list', 'show', 'verify', 'diff', 'rollback', 'gc'"),
        (["versions", "show", "latest", "--store", "nowhere"], "an id of 16 hex digits is expected"),
        (["versions", "diff", "--store", "nowhere"], "the following arguments are required: A"),
        (["why", "--store", "nowhere"], "the following arguments are required: ITEM_ID"),
        (["forget", "--config", DIGITS], "the following arguments are required: ITEM_ID"),
        (["forget", "digit-0000"], "the following arguments are required: --config"),
        (["forget", "digit-0000", "--config", DIGITS, "--within", "day"], "invalid float value: 'day'"),
        (["train", "--config", DIGITS, "--runner=FlinkRunner"], "unknown argument --runner=FlinkRunner"),
        (
            ["run", "--config", DIGITS, "--runner=FlinkRunner", "--flink_master=flink:8081"],
            "beam.shared_filesystem=true",
        ),
        (["reindex", "--config", DIGITS, "--runner=DataflowRunner"], "beam.shared_filesystem=true"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_allowed(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*arguments, "--workdir", str(tmp_path)] if "--config" in arguments else arguments)
    shown = capsys.readouterr()
    assert code == 2
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_unknown_beam_flag_ends_with_2_and_the_nearest_spelling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--config", DIGITS, "--workdir", str(tmp_path), "--runer=FlinkRunner"]) == 2
    assert "did you mean --runner?" in capsys.readouterr().err


def test_search_in_a_store_without_versions_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--store", str(tmp_path), "--item", "a"]) == 1
    assert "nothing is published there" in capsys.readouterr().err


def test_debug_shows_the_stack_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--store", str(tmp_path), "--item", "a", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in ("run", "preprocess", "train", "index", "evaluate", "search", "why", "forget", "report", "versions"):
        assert name in shown


def _all_commands() -> list[Command]:
    return [one for command in COMMANDS for one in (command, *command.actions)]


@pytest.mark.parametrize("command", [c for c in _all_commands() if not c.actions], ids=lambda command: command.name)
def test_help_ends_with_examples_that_are_right(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command.examples[0])[1:]
    name = words[: 2 if words[0] == "versions" else 1]
    with pytest.raises(SystemExit) as ended:
        main([*name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.count("examples:") == 1
    for example in command.examples:
        assert f"\n  {example}" in shown
        program, *arguments = shlex.split(example.partition(" > ")[0])
        assert program == "ruiji"
        known, unknown = parser().parse_known_args(arguments)
        assert known.chosen.name == command.name
        assert command.beam or not unknown
        assert all(word.startswith("--") for word in unknown)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh", "fish", "powershell"])
def test_completion_knows_commands_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    shown = capsys.readouterr().out
    for word in ("reindex", "duplicates", "max-distance", "rollback"):
        assert word in shown
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shell": shell, "script": shown.removesuffix("\n")}
    assert main(["completion", "dos"]) == 2
    assert "choose from 'bash', 'zsh', 'tcsh', 'fish', 'powershell'" in capsys.readouterr().err


def test_bash_takes_its_completion(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "ruiji").write_text(capsys.readouterr().out)
    asked = 'source ./ruiji; COMP_WORDS=(ruiji dupl); COMP_CWORD=1; _shtab_ruiji; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["duplicates"]


def test_quiet_says_nothing_but_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--config", DIGITS, "--workdir", str(tmp_path), "--set", "catalog.source=nowhere.csv"]
    notified = []

    def said(main: Main) -> None:
        main.notify("working")
        Progress(main)("steps", 5, 5)
        notified.append(main.arguments.quiet)

    for flags, expected in (((), ["ruiji: working", "ruiji: steps: 5 of 5 steps"]), (("--quiet",), [])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipelines.query.versions_list", said)
            assert main(["versions", "list", "--store", "s", *flags]) == 0
        found = capsys.readouterr().err.splitlines()
        assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected
    assert notified == [False, True]
    assert main([*words, "--quiet"]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["why", "forget"])
def test_help_of_why_and_forget_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"examples:\n  ruiji {name} digit-0007 --config configs/digits.yaml" in shown
    assert "item_id as in the catalog" in shown


@pytest.mark.parametrize("action", ["list", "show", "verify", "diff", "rollback", "gc"])
def test_help_of_each_action_of_versions_has_examples(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["versions", action, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"examples:\n  ruiji versions {action} " in shown
    assert "--store" in shown


def test_a_full_disk_is_said_without_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(main: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "file"))

    monkeypatch.setattr("pipelines.query.versions_list", full)
    assert main(["versions", "list", "--store", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "free some space" in said
    assert "internal error" not in said
