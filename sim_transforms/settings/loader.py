"""Reads a configuration file strictly, with overrides from the command line."""

import copy
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from sim_transforms.errors import ConfigError
from sim_transforms.records.codec import from_plain
from sim_transforms.settings.stages import Settings

# Where vectors are indexed without a configuration.
WITHOUT_FILE = {"name": "embeddings", "catalog": {"source": "--embeddings"}}


class _Loader(yaml.SafeLoader):
    """Takes 1e-3 for a number, as YAML 1.2 does; PyYAML's 1.1 wants 1.0e-3."""


_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, "-+0123456789")


def load_settings(
    path: str | None, overrides: Iterable[str] = (), workdir: str | None = None, store: str | None = None
) -> Settings:
    """Reads `path`, applies `KEY=VALUE` overrides, `--workdir` and `--store`; null stands for the defaults.

    Moving the working directory moves a store that was not set by name with it.

    Raises:
        ConfigError: file missing or no YAML; unknown, missing or wrongly typed key; override without `=`.
    """
    tree = _read_yaml(Path(path)) if path is not None else copy.deepcopy(WITHOUT_FILE)
    for override in overrides:
        _apply(tree, override)
    if workdir is not None:
        tree["workdir"] = workdir
    if store is not None:
        tree["store"] = store
    return from_plain(Settings, tree, source=path if path is not None else "--set")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "(file)", "no readable file", f"--config takes a YAML file ({error})") from error
    try:
        tree = _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(str(path), "(file)", "no valid YAML", " ".join(str(error).split())) from error
    if not isinstance(tree, dict):
        raise ConfigError(str(path), "(file)", f"{tree!r}", "a mapping of keys is expected")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError("--set", override, "no KEY=VALUE", "an example: --set index.m=24")
    try:
        value = _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError("--set", key, repr(text), "a YAML value is expected") from error
    *path, last = key.split(".")
    node: Any = tree
    for name in path:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise ConfigError("--set", key, f"{name} is no section", "a key such as index.m is expected")
    node[last] = value


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)
