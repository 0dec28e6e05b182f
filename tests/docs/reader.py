"""A reader who follows a page: each block by the rule for its language; a block without a rule is an error."""

import ast
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from sim_transforms.settings.loader import load_settings
from tests.docs.blocks import INDENTED, Block
from tests.docs.shell import Shell

ANSWER = "answer"
_ID, _NUMBER = re.compile(r"\b[0-9a-f]{16}\b"), re.compile(r"-?\d[\d,]*(\.\d+)?(e-?\d+)?")
_FOLDER = re.compile(r"/\S*/(?=work/)")
_FIRST_WORDS = (".venv/", "ruiji ", "make ", "curl ", "python ", "kubectl ", "gcloud ", "docker ", "cp ", "export ")
_DOCKER = ("FROM", "COPY", "RUN", "ENV", "WORKDIR", "ENTRYPOINT", "ARG")
# Prometheus' own, beside ours.
_PROMETHEUS = {"up"}


@dataclass
class Reader:
    """Follows the blocks of one page.

    Attributes:
        shell: in whose folder all is done.
        variables: that the page's Python code finds and adds to.
        metrics: names that `/metrics` told on this page.
    """

    shell: Shell
    variables: dict[str, Any] = field(default_factory=dict)
    metrics: frozenset[str] = frozenset()

    def follow(self, blocks: Iterable[Block]) -> None:
        """All blocks in their order; raises AssertionError with the place of what is wrong."""
        rules: dict[str, Callable[[Block], None]] = {
            "bash": self._bash,
            "python": self._python,
            "yaml": self._yaml,
            "json": self._json,
            "text": self._text,
            "csv": self._csv,
            "cron": self._cron,
            "dockerfile": self._docker,
            INDENTED: self._indented,
        }
        for block in blocks:
            assert block.language in rules, f"{block}: no rule for a block of {block.language or 'no language'}"
            rules[block.language](block)

    def _bash(self, block: Block) -> None:
        self.shell.run(block)
        if "# TYPE ruiji_" in self.shell.answer:
            self.metrics = metric_names(self.shell.answer)

    def _python(self, block: Block) -> None:
        text = block.text
        for found, other in self.shell.replaced.items():
            text = text.replace(found, other)
        tree = ast.parse(text, str(block))
        if self.shell.only_looks_at(text):
            tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(tree, str(block), "exec"), self.variables)

    def _yaml(self, block: Block) -> None:
        tree = yaml.safe_load(block.text)
        path = self._written(block)
        if "groups" in tree:
            return self._alerts(block, tree)
        if "scrape_configs" in tree:
            assert all({"job_name", "static_configs"} <= job.keys() for job in tree["scrape_configs"]), str(block)
            return None
        if path is None:
            # Some keys of a configuration.
            path = self.shell.home / "configs" / "fragment.yaml"
            path.write_text(yaml.safe_dump({"name": "fragment", "catalog": {"source": "builtin:digits"}, **tree}))
        load_settings(str(path))
        return None

    def _alerts(self, block: Block, tree: dict[str, Any]) -> None:
        """Rules have what Prometheus asks for, and ask for metrics that there are."""
        for rule in (rule for group in tree["groups"] for rule in group["rules"]):
            assert {"alert", "expr", "annotations"} <= rule.keys(), f"{block}: {rule}"
            assert rule["expr"].count("(") == rule["expr"].count(")"), f"{block}: {rule['expr']}"
            assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m")), f"{block}: {rule}"
            names = set(re.findall(r"\bruiji_\w+|\bup\b", rule["expr"]))
            assert names, f"{block}: {rule['expr']}"
            assert names <= self.metrics | _PROMETHEUS, f"{block}: {names - self.metrics - _PROMETHEUS}"

    def _json(self, block: Block) -> None:
        told = json.loads(block.text)
        if block.title == ANSWER:
            found = json.loads(self.shell.answer.splitlines()[-1])
            assert _shape(told) == _shape(found), f"{block}: {found}"

    def _text(self, block: Block) -> None:
        """What a command answers, but for its numbers; or a picture, which no command hides in."""
        if block.title != ANSWER:
            hidden = [line for line in block.text.splitlines() if line.lstrip("$ ").startswith(_FIRST_WORDS)]
            assert not hidden, f"{block}: give the language of {hidden[0]!r}"
            return
        found = {_plain(line) for line in self.shell.answer.splitlines()}
        for line in block.text.splitlines():
            assert line == "..." or _plain(line) in found, f"{block}: {line!r} is not in\n{self.shell.answer}"

    def _csv(self, block: Block) -> None:
        header, *rows = csv.reader(io.StringIO(block.text))
        assert {"item_id", "uri"} <= set(header), str(block)
        assert all(len(row) == len(header) for row in rows), str(block)
        self._written(block)

    def _cron(self, block: Block) -> None:
        for line in block.text.splitlines():
            times, program = line.split(maxsplit=5)[:5], line.split(maxsplit=5)[5]
            assert all(re.fullmatch(r"[\d*/,-]+", time) for time in times), f"{block}: {line}"
            self.shell.run(Block(block.page, block.line, "bash", block.title, program))

    def _docker(self, block: Block) -> None:
        assert all(line.split()[0] in _DOCKER for line in block.text.splitlines()), str(block)

    def _indented(self, block: Block) -> None:
        """Without a fence: commands where the first word is one, else a picture or an answer that is shown."""
        is_command = block.text.startswith(_FIRST_WORDS)
        kind = "bash" if is_command else "json" if block.text.startswith("{") else "text"
        text = Block(block.page, block.line, kind, "", block.text)
        (self._bash if is_command else self._json if kind == "json" else self._text)(text)

    def _written(self, block: Block) -> Path | None:
        """A block whose title is a path is a file that the reader makes."""
        if not re.fullmatch(r"[\w./-]+\.\w+", block.title):
            return None
        path = self.shell.home / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            os.unlink(path)
        path.write_text(block.text)
        return path


def _plain(line: str) -> str:
    """A line of an answer without what may differ from machine to machine."""
    return " ".join(_NUMBER.sub("N", _ID.sub("ID", _FOLDER.sub("", line))).split())


def _shape(value: Any) -> Any:
    """Keys and kinds."""
    if isinstance(value, dict):
        return {key: _shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def metric_names(text: str) -> frozenset[str]:
    """Names of the samples in Prometheus' text format."""
    families = text_string_to_metric_families(text)
    return frozenset(sample.name for family in families for sample in family.samples)
