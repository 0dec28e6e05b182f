"""A reader at a shell: the commands of a page, one after the other, in one folder.

`ruiji` runs in this process, whatever else in Bash. What is on somebody's cluster or project is only looked at: the
command line's own parser, the configuration, `bash -n`, the files that are named.
"""

import io
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn

from pipelines.cli import main, parser
from sim_transforms.settings.loader import load_settings
from tests.docs.blocks import ROOT, Block, command_lines
from tests.pipelines.small_catalogs import ONE_PROCESS, quiet

RUIJI = (".venv/bin/ruiji", "ruiji")
# Above commands that readers give elsewhere.
ELSEWHERE = ("on your cluster", "on your project", "as root", "with Docker", "with a network")
_CODE = re.compile(r"#\s*exit (\d+)")
_ASSIGNMENT = re.compile(r"(?:export )?([A-Za-z_]\w*)=")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_OPERATORS = set("();<>|&`")
_ADDRESS = re.compile(r"(localhost|127\.0\.0\.1):8080")
_SECONDS = 240.0


@dataclass(frozen=True)
class Outcome:
    """Of a command: what it printed, and how long it took."""

    stdout: str
    seconds: float


@dataclass
class Shell:
    """A shell in a folder.

    Attributes:
        home: where its commands run.
        replaced: text of a page -> what stands for it here: buckets, and what would take long.
        looked_at: commands that hold one of these are not run.
        known: command -> its outcome, where its files were made before; taken when it is given for the first time.
        seconds: each command with how long it took.
        answer: what the last command printed.
    """

    home: Path
    replaced: dict[str, str] = field(default_factory=dict)
    looked_at: tuple[str, ...] = ()
    known: dict[str, Outcome] = field(default_factory=dict)
    seconds: list[tuple[str, float]] = field(default_factory=list)
    answer: str = ""
    _variables: dict[str, str] = field(default_factory=dict)
    _services: list[tuple[uvicorn.Server, threading.Thread]] = field(default_factory=list)
    _port: int = 0

    def run(self, block: Block) -> None:
        """Runs a block, or looks at it where it is for elsewhere; raises AssertionError where a command fails."""
        for line in command_lines(block.text):
            if block.title in ELSEWHERE or self.only_looks_at(line):
                self._look(line, block)
                continue
            outcome = self._outcome(self._here(line), block)
            self.seconds.append((line, outcome.seconds))
            self.answer = outcome.stdout

    def only_looks_at(self, text: str) -> bool:
        """Whether a command, or a block, is not run."""
        return any(part in text for part in self.looked_at)

    def close(self) -> None:
        """Ends the services that were started."""
        for server, thread in self._services:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
        self._services.clear()

    def _here(self, line: str) -> str:
        for text, other in self.replaced.items():
            line = line.replace(text, other)
        return _ADDRESS.sub(rf"\1:{self._port}", line) if self._port else line

    def _outcome(self, line: str, block: Block) -> Outcome:
        if _bare(line) in self.known:
            return self.known.pop(_bare(line))
        began = time.monotonic()
        expected = int(found[1]) if (found := _CODE.search(line)) else 0
        name = _ASSIGNMENT.match(line)
        if name:
            self._variables[name[1]] = self._bash(f'{line}\nprintf %s "${name[1]}"', 0, block)
            shown = ""
        elif not _is_plain(line):
            shown = self._bash(line, expected, block)
        else:
            words = [self._filled(word) for word in shlex.split(line, comments=True)]
            shown = self._words(words, line, expected, block)
        return Outcome(shown, time.monotonic() - began)

    def _words(self, words: list[str], line: str, expected: int, block: Block) -> str:
        if words[0] == RUIJI[0]:
            if words[1] == "serve":
                return self._serve(words[1:], block)
            return _in_process(words[1:], expected, block)
        if words[0] == "make":
            return _look_at_make(words[1:], block)
        if words[1:2] == ["-m"] and words[2].startswith("benchmarks."):
            return _look_at_benchmark(words[2:], block)
        return self._bash(line, expected, block)

    def _filled(self, word: str) -> str:
        return _VARIABLE.sub(lambda found: self._variables[found[1] or found[2]], word)

    def _bash(self, line: str, expected: int, block: Block) -> str:
        environment = {**quiet(), **self._variables, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == expected, f"{block}: {line}\nexit {done.returncode}\n{done.stderr[-4000:]}"
        return done.stdout

    def _serve(self, words: list[str], block: Block) -> str:
        """Starts a service on a free port, in a thread, and waits until it answers."""
        self._port = _free_port()
        shown, code = io.StringIO(), []
        given = [*words, "--port", str(self._port)]
        with redirect_stdout(shown), _noted_server() as made:
            thread = threading.Thread(target=lambda: code.append(main(given)), daemon=True)
            thread.start()
            ends = time.monotonic() + _SECONDS
            while not _answers(self._port):
                assert thread.is_alive(), f"{block}: {shlex.join(words)}\nexit {code}"
                assert time.monotonic() < ends, f"{block}: {shlex.join(words)}: no answer"
                time.sleep(0.05)
        self._services.append((made[0], thread))
        return _ADDRESS.sub(r"\1:8080", shown.getvalue().replace(f":{self._port}", ":8080"))

    def _look(self, line: str, block: Block) -> None:
        checked = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True, check=False)
        assert checked.stderr == "", f"{block}: {line}\n{checked.stderr}"
        for command in re.split(r"&&|\|\||;|\|", line):
            words = shlex.split(command, comments=True)
            program, *given = words[words.index("--") + 1 :] if "--" in words else words
            if program in RUIJI:
                _look_at_ruiji(given, block)
            for word in words:
                path = word.partition("=")[2] or word
                if re.match(r"(configs|docs|benchmarks|tests)/", path):
                    assert (ROOT / path).exists() or (self.home / path).exists(), f"{block}: there is no {path}"


@contextmanager
def _noted_server() -> Iterator[list[uvicorn.Server]]:
    """The servers that uvicorn makes within, so that they can be ended."""
    made: list[uvicorn.Server] = []
    real = uvicorn.Server

    def server(config: uvicorn.Config) -> uvicorn.Server:
        made.append(real(config))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn, "Server", server)
        yield made


def _bare(line: str) -> str:
    """Without the comment at its end."""
    return shlex.join(shlex.split(line, comments=True))


def _is_plain(line: str) -> bool:
    """Whether a line is one command without redirections, and without substitutions but of variables."""
    lexer = shlex.shlex(line, posix=False, punctuation_chars=True)
    return "$(" not in line and not any(set(token) <= _OPERATORS for token in lexer)


def _in_process(words: Sequence[str], expected: int, block: Block) -> str:
    out, err = io.StringIO(), io.StringIO()
    chosen = getattr(parser().parse_known_args(words)[0], "chosen", None)
    here = chosen is not None and chosen.beam and not any(word.startswith("--runner") for word in words)
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main([*words, *(ONE_PROCESS if here else ())])
    assert code == expected, f"{block}: ruiji {shlex.join(words)}\nexit {code}\n{err.getvalue()[-4000:]}"
    return out.getvalue()


def _look_at_ruiji(words: Sequence[str], block: Block) -> None:
    """The command line is one that is taken, and its configuration one that is read, where it is ours."""
    given, further = parser().parse_known_args(words)
    if "chosen" in given:
        assert given.chosen.beam or not further, f"{block}: {further}"
        if given.config and Path(given.config).is_file():  # of the checkout, or written on this page
            load_settings(given.config, given.set or (), given.workdir)
        elif given.config:
            assert not given.config.startswith("configs/"), f"{block}: there is no {given.config}"


def _look_at_make(words: Sequence[str], block: Block) -> str:
    """Make knows the targets."""
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block}: make {shlex.join(words)}\n{done.stderr}"
    return ""


def _look_at_benchmark(words: Sequence[str], block: Block) -> str:
    """There is such a benchmark with such flags; the flags of data stand in a module of their own."""
    source = ROOT.joinpath(*words[0].split(".")).with_suffix(".py")
    text = source.read_text() + (ROOT / "benchmarks" / "data.py").read_text()
    for word in words[1:]:
        if word.startswith("--"):
            assert f'"{word.partition("=")[0]}"' in text, f"{block}: {words[0]} knows no {word}"
    return ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def make_home(folder: Path) -> Path:
    """A folder as a checkout looks to a reader: `configs/`, and `.venv/bin/` with the commands of this environment."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, words in (("ruiji", f"{sys.executable} -m pipelines.cli"), ("python", sys.executable)):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(0o755)
    (folder / "configs").mkdir()
    for path in (ROOT / "configs").iterdir():
        if path.name != "site":
            os.symlink(path, folder / "configs" / path.name)
    return folder
