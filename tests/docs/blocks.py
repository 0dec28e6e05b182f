"""The code blocks of a page of Markdown, in their order."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))

_FENCE = re.compile(r"( *)(`{3,}|~{3,})\s*([^`]*)$")
_TITLE = re.compile(r'title="([^"]*)"')
# What follows them is theirs where it is indented, and no code.
_CONTAINER = re.compile(r"([-*+]|\d+[.)]) |!!! |\?\?\?\+? |=== ")
INDENTED = "indented"


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        page: name of the file.
        line: of its first line of code, from 1.
        language: first word after the fence; `indented` of a block without a fence, empty where there is no word.
        title: that readers see above it.
        text: without the fence and what all lines are indented by.
    """

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """All blocks of a page.

    Raises:
        ValueError: a fence that does not end.
    """
    return list(_blocks(path.name, path.read_text(encoding="utf-8").splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    place, inside = 0, False
    while place < len(lines):
        line = lines[place]
        fence = _FENCE.fullmatch(line)
        if fence:
            end = _end(page, lines, place, fence[2])
            yield _fenced(page, place, fence[3], lines[place + 1 : end])
            place = end + 1
            continue
        if line.strip() and not line.startswith(" "):
            inside = bool(_CONTAINER.match(line))
        is_code = line.startswith("    ") and bool(line.strip()) and not inside
        end = _end_of_indented(lines, place) if is_code and _begins(lines, place) else place
        if end > place:
            text = textwrap.dedent("\n".join(lines[place:end])).rstrip() + "\n"
            yield Block(page, place + 1, INDENTED, "", text)
        place = max(end, place + 1)


def _begins(lines: list[str], place: int) -> bool:
    """Code without a fence does not go on a paragraph; a heading is none."""
    return place == 0 or not lines[place - 1].strip() or lines[place - 1].startswith("#")


def _end(page: str, lines: list[str], place: int, mark: str) -> int:
    for number in range(place + 1, len(lines)):
        if lines[number].strip().startswith(mark) and not lines[number].strip().strip(mark[0]):
            return number
    raise ValueError(f"{page}:{place + 1}: the fence does not end")


def _fenced(page: str, place: int, info: str, lines: list[str]) -> Block:
    title = _TITLE.search(info)
    text = textwrap.dedent("\n".join(lines)) + "\n"
    return Block(page, place + 2, info.split(" ")[0].strip(), title[1] if title else "", text)


def _end_of_indented(lines: list[str], place: int) -> int:
    end = place
    while place < len(lines) and (lines[place].startswith("    ") or not lines[place].strip()):
        place += 1
        if lines[place - 1].strip():
            end = place
    return end


def command_lines(text: str) -> list[str]:
    """The commands of a block for a shell: lines that go on are joined, empty ones and comments left out.

    A block with a here-document is one command.
    """
    if "<<" in text:
        return [text.strip()]
    commands, open_line = [], ""
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        whole = f"{open_line}\n{line}" if open_line else line
        try:
            words = shlex.split(whole, comments=True)
        except ValueError:  # a quotation goes on
            open_line = whole
            continue
        open_line = ""
        commands += [whole.strip()] if words else []
    return [*commands, *([open_line] if open_line else [])]
