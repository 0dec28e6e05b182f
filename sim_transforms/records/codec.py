"""Frozen dataclasses to plain JSON values and back, strictly typed.

One mechanism for configuration files and manifests: an unknown, missing or wrongly typed key is an error that names
the key, what was found and what is allowed. Not for hot paths (items travel as Arrow or numpy).
"""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from sim_transforms.errors import ConfigError

T = TypeVar("T")


def canonical_json(value: Any) -> str:
    """Text of `value` (a dataclass or plain JSON value) that is a function of its content alone; ends in a newline."""
    plain = to_plain(value)
    return json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_plain(value: Any) -> Any:
    """Dataclasses become dicts, tuples become lists, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value


def from_plain(kind: type[T], value: Any, *, source: str, key: str = "") -> T:
    """Builds the dataclass `kind` out of a plain mapping.

    Raises:
        ConfigError: unknown key (with the nearest spelling), missing key, wrong type, or a value that the dataclass's
            own `__post_init__` refuses with ValueError (its text is taken as what is allowed).
    """
    if not isinstance(value, Mapping):
        raise ConfigError(source, key or "(file)", _show(value), f"a mapping is expected: {_names(kind)}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in value:
        if name not in fields:
            raise ConfigError(source, _join(key, name), "an unknown key", _suggest(str(name), fields))
    hints = typing.get_type_hints(kind)
    given = {n: _convert(hints[n], v, source, _join(key, n)) for n, v in value.items()}
    _require(fields, given, source, key)
    try:
        return kind(**given)
    except ValueError as error:
        name, _, allowed = str(error).partition(": ")
        raise ConfigError(source, _join(key, name), _show(value.get(name)), allowed) from error


def _require(fields: Mapping[str, Any], given: Mapping[str, Any], source: str, key: str) -> None:
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in given and not has_default:
            raise ConfigError(source, _join(key, name), "nothing", "this key is required")


def _convert(hint: Any, value: Any, source: str, key: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, source, key)
    if origin is typing.Literal:
        if value in args and not isinstance(value, bool):
            return value
        raise ConfigError(source, key, _show(value), _one_of(value, args))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, source=source, key=key)
    if origin is tuple:
        return _convert_tuple(args, value, source, key)
    if origin in (dict, Mapping) or origin is typing.get_origin(Mapping[str, int]):
        return _convert_mapping(args, value, source, key)
    return _convert_scalar(hint, value, source, key)


def _convert_union(args: tuple[Any, ...], value: Any, source: str, key: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = [arg for arg in args if dataclasses.is_dataclass(arg)]
    if len(kinds) > 1:
        return _convert(_tagged(kinds, value, source, key), value, source, key)
    errors = []
    for arg in (a for a in args if a is not type(None)):
        try:
            return _convert(arg, value, source, key)
        except ConfigError as error:
            errors.append(error)
    if len(errors) == 1 and type(None) not in args:
        raise errors[0]
    allowed = " or ".join(e.allowed for e in errors) + (" or null" if type(None) in args else "")
    raise ConfigError(source, key, _show(value), allowed)


def _tagged(kinds: list[Any], value: Any, source: str, key: str) -> Any:
    """The dataclass whose field `kind`, a Literal, is that of the mapping; the first where it names none."""
    told = value.get("kind") if isinstance(value, Mapping) else None
    tags = [typing.get_args(typing.get_type_hints(kind)["kind"])[0] for kind in kinds]
    if told is None:
        return kinds[0]
    if told not in tags:
        raise ConfigError(source, _join(key, "kind"), _show(told), _one_of(told, tuple(tags)))
    return kinds[tags.index(told)]


def _convert_tuple(args: tuple[Any, ...], value: Any, source: str, key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(source, key, _show(value), "a list is expected")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], v, source, f"{key}[{i}]") for i, v in enumerate(value))
    if len(value) != len(args):
        raise ConfigError(source, key, _show(value), f"a list of {len(args)} is expected")
    return tuple(_convert(a, v, source, f"{key}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))


def _convert_mapping(args: tuple[Any, ...], value: Any, source: str, key: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(source, key, _show(value), "a mapping is expected")
    return {str(k): _convert(args[1], v, source, _join(key, str(k))) for k, v in value.items()}


_SCALARS: dict[type, str] = {
    int: "a whole number is expected",
    float: "a number is expected",
    str: "text is expected (put quotes around it)",
    bool: "true or false is expected",
}


def _convert_scalar(hint: Any, value: Any, source: str, key: str) -> Any:
    allowed = _SCALARS.get(hint)
    if allowed is None:
        raise TypeError(f"no conversion to {hint!r} for {key}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(source, key, _show(value), allowed)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)


def _show(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def _names(kind: Any) -> str:
    return ", ".join(f.name for f in dataclasses.fields(kind))


def _suggest(name: str, names: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known keys: {', '.join(sorted(names))}"


def _one_of(value: Any, args: tuple[Any, ...]) -> str:
    near = difflib.get_close_matches(str(value), [str(a) for a in args], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}one of {', '.join(repr(a) for a in args)} is expected"
