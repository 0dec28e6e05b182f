"""The floor plan holds: who imports whom, the public names, and no annotations import where Beam is touched."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Room -> rooms it may import, beside itself. `sim_transforms` alone stands for the files that speak Beam.
NOUNS = {"errors", "records", "settings"}
ALLOWED = {
    "errors": set(),
    "records": {"errors"},
    "settings": {"records", "errors"},
    "media": NOUNS | {"storage"},
    "features": NOUNS,
    "hnsw": NOUNS,
    "storage": NOUNS,
    "runs": NOUNS | {"storage"},
    "quality": NOUNS | {"hnsw", "storage"},
    "embedding": NOUNS | {"features"},
    "lookup": NOUNS | {"hnsw", "storage"},
    "browse": NOUNS | {"hnsw", "storage"},
    "report": NOUNS | {"lookup", "quality", "storage"},
    "service": NOUNS | {"hnsw", "storage", "lookup", "media", "embedding", "report"},
    "commands": NOUNS
    | {"media", "features", "hnsw", "storage", "runs", "quality", "embedding", "lookup", "report", "service"},
    "beam": NOUNS | {"media", "features", "hnsw", "storage", "runs", "quality", "embedding"},
    "trainer": NOUNS | {"features", "storage", "quality"},
    "pipelines": {"beam", "commands", "trainer", "settings", "records", "errors", "runs", "media", "storage", "browse"},
}
# Package -> rooms that may touch it.
OUTSIDE = {
    "apache_beam": {"beam", "pipelines"},
    "nmslib": {"hnsw", "lookup"},
    "numba": {"hnsw", "storage"},
    "google.cloud.storage": {"storage"},
}
PUBLIC = {
    "sim_transforms.lookup.open": {"Match", "OpenVersion", "open_version", "check_file", "version_folder"},
    "sim_transforms.lookup.memory": {"MemoryIndex"},
    "sim_transforms.hnsw.search": {"NativeSearcher"},
    "sim_transforms.storage.versions": {
        "VersionInfo",
        "file_entries",
        "is_version_id",
        "latest",
        "list_versions",
        "whole_versions",
        "load_manifest",
        "missing_files",
        "move_latest",
        "object_name",
        "page_entries",
        "publish",
        "remove_version",
        "search_entries",
        "version_id",
    },
    "sim_transforms.storage.leases": {
        "Hold",
        "JobLease",
        "KeptLease",
        "fresh_holds",
        "has_ended",
        "new_holder",
        "store_seconds",
    },
    "trainer.task": {"train", "score", "fitted_model", "untrained_model", "make_learner"},
}


def _sources() -> list[Path]:
    return sorted(p for top in ("pipelines", "sim_transforms", "trainer") for p in (ROOT / top).rglob("*.py"))


def _room(module: str) -> str:
    parts = module.split(".")
    if parts[0] != "sim_transforms":
        return parts[0]
    if len(parts) > 1 and (ROOT / "sim_transforms" / parts[1]).is_dir():
        return parts[1]
    return "errors" if parts[1:2] == ["errors"] else "beam"


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", _sources(), ids=_module)
def test_imports_of_each_file_stay_within_the_table(path: Path) -> None:
    room = _room(_module(path))
    own = [name for name in _imports(path) if name.split(".")[0] in ("pipelines", "sim_transforms", "trainer", "tests")]
    wrong = [name for name in own if _room(name) not in ALLOWED[room] | {room}]
    assert not wrong, f"{_module(path)} (room {room}) must not import {wrong}"


@pytest.mark.parametrize("path", _sources(), ids=_module)
def test_outside_packages_are_touched_by_their_rooms_alone(path: Path) -> None:
    room = _room(_module(path))
    for package, rooms in OUTSIDE.items():
        touched = any(name == package or name.startswith(package + ".") for name in _imports(path))
        assert not touched or room in rooms, f"{_module(path)} must not import {package}"


def test_google_storage_is_touched_by_one_file() -> None:
    touching = [_module(p) for p in _sources() if any(n.startswith("google.cloud.storage") for n in _imports(p))]
    assert touching == ["sim_transforms.storage.gcs"]


@pytest.mark.parametrize("path", _sources(), ids=_module)
def test_no_annotations_import_where_beam_is_touched(path: Path) -> None:
    names = list(_imports(path))
    assert not ("__future__" in names and any(n.startswith("apache_beam") for n in names))


@pytest.mark.parametrize("path", _sources(), ids=_module)
def test_function_bodies_are_at_most_60_lines(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or (body[-1].end_lineno or 0) - body[0].lineno < 60, f"{_module(path)}.{node.name}"


@pytest.mark.parametrize(("module", "names"), PUBLIC.items(), ids=list(PUBLIC))
def test_public_names_are_the_listed_ones(module: str, names: set[str]) -> None:
    tree = ast.parse((ROOT / Path(*module.split("."))).with_suffix(".py").read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert {n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")} == names


def test_packages_of_the_distribution_are_all_rooms() -> None:
    listed = ast.literal_eval(_assigned(ROOT / "setup.py", "PACKAGES"))
    assert sorted(listed) == sorted({_module(p.parent / "__init__.py") for p in _sources()})


def _assigned(path: Path, name: str) -> ast.expr:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return node.value
    raise AssertionError(f"{path} assigns no {name}")
