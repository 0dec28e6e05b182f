"""The site: built strictly, loads nothing from elsewhere; pages that are made of the code are up to date."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from sim_transforms.errors import RuijiError
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import Settings
from tests.docs.blocks import INDENTED, ROOT, blocks_of, command_lines
from tests.docs.commands import PAGE, reference
from tests.docs.reader import Reader
from tests.docs.shell import Shell

# What a browser fetches by itself.
_FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class _Fetched(HTMLParser):
    """Addresses that a page fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name == _FETCHED.get(tag)]


def _built(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, in another folder."""
    told = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (recipe,) = [line for line in told.splitlines() if "mkdocs build" in line]
    command = recipe.replace(".venv/bin/mkdocs", f"{sys.executable} -m mkdocs") + f" --site-dir {site}"
    return subprocess.run(command, shell=True, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_site_is_built_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = _built(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))
    for page in pages:
        parser = _Fetched()
        parser.feed(page.read_text())
        assert [address for address in parser.found if re.match(r"(\w+:)?//", address)] == [], page.name
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", style.read_text()), style.name


@pytest.mark.slow
def test_link_that_leads_nowhere_fails_the_site(tmp_path: Path) -> None:
    for name in ("configs/site", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write("\n[nowhere](tutorial.md#nowhere)\n")
    done = _built(tmp_path, tmp_path / "site")
    assert (done.returncode, "'#nowhere'" in done.stderr) == (1, True)


def test_commands_page_is_that_of_the_parser() -> None:
    assert PAGE.read_text() == reference(), "run `python -m tests.docs.commands`"


def test_links_of_the_readme_lead_somewhere() -> None:
    for name in re.findall(r"\b(?:docs|configs)/[\w./-]+\w", (ROOT / "README.md").read_text()):
        own = name.startswith(("configs/pets", "configs/NAME"))
        assert own or (ROOT / name).exists(), name


def test_defaults_of_the_design_page_are_those_of_the_settings(tmp_path: Path) -> None:
    blocks = blocks_of(ROOT / "docs" / "design.md")
    assert [block.language for block in blocks] == [INDENTED] * 3
    stated, *pictures = sorted(blocks, key=lambda block: not block.text.startswith("name: "))
    Reader(Shell(tmp_path)).follow(pictures)
    for media in ("", "audio"):
        tree = yaml.safe_load(stated.text.replace("...", "'...': null").replace("<workdir>", "work/digits"))
        if media:
            found = re.search(r"# or: (\{kind: audio.*?)\n\s*#\s*(.*?\})", stated.text)
            assert found is not None
            tree["media"] = yaml.safe_load(f"{found[1]} {found[2]}")
        few = {name: tree[name] for name in ("name", "catalog", "beam")} | {"media": {"kind": tree["media"]["kind"]}}
        assert _loaded(_without_dots(tree), tmp_path) == _loaded(few, tmp_path)


def _loaded(tree: object, folder: Path) -> Settings:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load_settings(str(path))


def _without_dots(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_dots(each) for key, each in value.items() if key != "..."}
    return value


@pytest.mark.parametrize(
    "text",
    [
        "```\nno language\n```",
        "```fortran\nEND\n```",
        "```bash\nfalse\n```",
        "```bash\n.venv/bin/ruiji versions list --stre nowhere\n```",
        '```bash title="on your cluster"\nruiji run --config configs/flnk.yaml\n```',
        "```bash\nmake nothing-such\n```",
        "```bash\n.venv/bin/python -m benchmarks.scale --knd stages\n```",
        "```python\nraise ValueError\n```",
        "```yaml\nindex: {mm: 3}\n```",
        "```json\n{\n```",
        "```text\n.venv/bin/ruiji run --config configs/digits.yaml\n```",
        '```text title="answer"\nnever said\n```',
        '```yaml\ngroups: [{rules: [{alert: A, expr: "ruiji_lost > 0", annotations: {}}]}]\n```',
        "para\n\n    .venv/bin/ruiji search --stre nowhere\n",
    ],
)
def test_what_is_wrong_on_a_page_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ValueError, RuijiError)):
        Reader(Shell(tmp_path)).follow(blocks_of(page))


def test_blocks_and_commands_are_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "Text.\n\n    indented code\n\n- item\n\n    its own text\n"
    page.write_text(text + '\n=== "tab"\n\n    ```bash title="as root"\n    a\n    ```\n')
    found = [(block.language, block.title, block.text) for block in blocks_of(page)]
    assert found == [(INDENTED, "", "indented code\n"), ("bash", "as root", "a\n")]
    assert command_lines("a \\\n  b\n# no\nc 'd\ne'  # end\n") == ["a b", "c 'd\ne'  # end"]
    assert command_lines("cat <<E\na\nE\n") == ["cat <<E\na\nE"]
