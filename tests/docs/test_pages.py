"""Every block of code of the documentation is followed, in order, as a reader would.

The times of the tutorial's commands are printed (`pytest -rP tests/docs -k tutorial`).
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.cli import COMMANDS
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, command_lines
from tests.docs.given import GIVEN, Given
from tests.docs.reader import Reader
from tests.docs.shell import ELSEWHERE, Outcome, Shell, make_home

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# What the README shows for the id of a version.
SHOWN_VERSION = "8cf97206618d779c"
RUN = ".venv/bin/ruiji run --config configs/digits.yaml"
FOLLOWED = [path for path in PAGES if path.name != "design.md"]


@dataclass(frozen=True)
class Ran:
    """`ruiji run` on digits: the working directory and what it said."""

    work: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The run that the tutorial begins with, and that other pages go on from; once for all of them."""
    home = make_home(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        shell = Shell(home)
        shell.run(Block("tutorial.md", 0, "bash", "", RUN))
    return Ran(home / "work", Outcome(shell.answer, shell.seconds[0][1]))


@pytest.fixture
def reader_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[Given], Reader]]:
    """Makes a reader in a folder of his own."""
    home = make_home(tmp_path / "home")
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shell = Shell(home)

    def made(given: Given) -> Reader:
        shell.replaced, shell.looked_at = dict(given.replaced), given.looked_at
        if given.after_run:
            found: Ran = request.getfixturevalue("ran")
            shutil.copytree(found.work, home / "work")
            shell.known[RUN] = found.outcome
            shell.replaced[SHOWN_VERSION] = (home / "work" / "digits" / "store" / "LATEST").read_text().strip()
        return Reader(shell, given.make(home))

    yield made
    shell.close()


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda path: path.name)
def test_page_can_be_followed(page: Path, reader_of: Callable[[Given], Reader]) -> None:
    reader = reader_of(GIVEN.get(page.name, Given()))
    reader.follow(blocks_of(page))
    for line, seconds in reader.shell.seconds:
        print(f"{seconds:7.2f} s  {line}")  # noqa: T201
    print(f"{sum(seconds for _, seconds in reader.shell.seconds):7.2f} s  {page.name}")  # noqa: T201


def test_readme_can_be_followed(reader_of: Callable[[Given], Reader]) -> None:
    reader_of(GIVEN["README.md"]).follow(blocks_of(ROOT / "README.md"))


def test_every_command_is_given_on_some_page() -> None:
    blocks = [block for path in FOLLOWED for block in blocks_of(path) if block.language == "bash"]
    given = "\n".join(line for block in blocks if block.title not in ELSEWHERE for line in command_lines(block.text))
    names = [
        f"{command.name} {action.name}" if command.actions else command.name
        for command in COMMANDS
        for action in (command.actions or (command,))
    ]
    assert [name for name in names if f".venv/bin/ruiji {name}" not in given] == []
