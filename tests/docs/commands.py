"""The page of all commands, made of the parser's own table: `python -m tests.docs.commands` writes docs/commands.md."""

from collections.abc import Iterable, Iterator

from pipelines.cli import COMMANDS, Argument, Command
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "commands.md"
_HEAD = """\
# Commands

<!-- Written by `python -m tests.docs.commands` out of pipelines/cli.py; a test compares them. -->

All commands and their flags. `ruiji COMMAND --help` tells the same, with examples.

Every command takes these:

| flag | means |
|---|---|
| `--config FILE` | configuration file of the catalog; needed where a command says so |
| `--set KEY=VALUE` | override one key of it, as in `--set index.m=24`; may stand several times |
| `--workdir DIR` | folder of the artefacts (default: the configuration's, else `work/NAME`) |
| `--json` | one JSON object as the last line of standard output |
| `--quiet` | show no progress: the answer and errors alone |
| `--debug` | show the stack trace of an error |

Commands that run jobs take every flag of Beam's pipeline options too, such as `--runner=FlinkRunner`. A flag that
nobody knows is an error, with the nearest spelling.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted, 143 terminated.
"""


def reference() -> str:
    """The text of the page."""
    return "\n".join([_HEAD, *(line for command in COMMANDS for line in _section(command, "ruiji"))]).rstrip() + "\n"


def _section(command: Command, before: str) -> Iterator[str]:
    name = f"{before} {command.name}"
    if command.actions:
        for action in command.actions:
            yield from _section(action, name)
        return
    yield f"## {name}\n"
    yield f"`{' '.join((name, *_synopsis(command)))}`\n"
    told = command.help[0].upper() + command.help[1:] + "."
    yield f"{told} Runs jobs.\n" if command.beam else f"{told}\n"
    if command.arguments:
        yield from ("| argument | means |", "|---|---|", *_rows(command.arguments), "")


def _synopsis(command: Command) -> Iterator[str]:
    for argument in command.arguments:
        if not argument.name.startswith("-"):
            yield f"[{argument.name}]" if argument.optional else argument.name + ("..." if argument.several else "")
    yield from (f"{a.name} {_value(a)}" for a in command.arguments if a.required)
    if command.needs_config:
        yield "--config FILE"


def _rows(arguments: Iterable[Argument]) -> Iterator[str]:
    for argument in arguments:
        is_flag = argument.name.startswith("-") and not argument.switch
        shown = f"{argument.name} {_value(argument)}" if is_flag else argument.name
        told = argument.help.replace("|", "\\|")
        if argument.choices:
            told += f": {', '.join(argument.choices)}"
        if argument.default is not None and "default" not in told:
            told += f" (default: {argument.default})"
        yield f"| `{shown}` | {told} |"


def _value(argument: Argument) -> str:
    if argument.metavars:
        return " ".join(argument.metavars)
    return argument.name.strip("-").replace("-", "_").upper()


if __name__ == "__main__":
    PAGE.write_text(reference())
