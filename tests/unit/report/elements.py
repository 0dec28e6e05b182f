"""Reads a page's elements."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "img", "link", "input", "hr"}


class Elements(HTMLParser):
    """Every element with its attributes; fails where tags do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def close(self) -> None:
        super().close()
        assert self._open == []


def elements_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """Elements with their attributes, in order."""
    parser = Elements()
    parser.feed(page)
    parser.close()
    return parser.elements
