"""Makes jobs within this process start faster: what Beam finds out anew for every transform is remembered.

Of a job over fifty pictures half the time went into reading the signatures of the same methods (51,000 times), into
parsing the same options (1,700 times), into looking for state in the same classes (1,600 times). What the jobs do is
not touched. Processes that tests start do without.
"""

import argparse
import copy
import functools
from collections.abc import Sequence
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import objsize
from apache_beam.options import pipeline_options
from apache_beam.transforms import core, userstate

_MOST = 20_000


def remember() -> None:
    """Until this process ends."""
    core.get_function_args_defaults = _arguments_by(core.get_function_args_defaults)
    userstate.get_dofn_specs = _specs_by(userstate.get_dofn_specs)
    # Sizes of what is cached: all of the process's modules are left out one by one, though nothing leads into one.
    objsize.get_deep_size = functools.partial(objsize.get_deep_size, exclude_modules_globals=False)
    options = pipeline_options.PipelineOptions
    options.__init__ = _options_by(options.__init__)


def _arguments_by(read: Any) -> Any:
    @functools.lru_cache(_MOST)
    def of_function(function: Any, bound: bool) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        names, defaults = read(MethodType(function, object()) if bound else function)
        return tuple(names), tuple(defaults)

    @functools.wraps(read)
    def arguments(function: Any) -> tuple[list[str], list[Any]]:
        try:
            is_method = isinstance(function, MethodType)
            names, defaults = of_function(function.__func__ if is_method else function, is_method)
        except TypeError:  # It cannot be hashed.
            return read(function)
        return list(names), list(defaults)

    return arguments


def _specs_by(read: Any) -> Any:
    known: WeakKeyDictionary[type, tuple[set[Any], set[Any]]] = WeakKeyDictionary()

    @functools.wraps(read)
    def specs(dofn: Any) -> tuple[set[Any], set[Any]]:
        if any(isinstance(value, MethodType) for value in vars(dofn).values()):
            return read(dofn)  # It has methods that its class has not.
        if type(dofn) not in known:
            known[type(dofn)] = read(dofn)
        states, timers = known[type(dofn)]
        return set(states), set(timers)

    return specs


def _options_by(parse: Any) -> Any:
    parsed: dict[tuple[type, tuple[str, ...]], argparse.Namespace] = {}

    @functools.wraps(parse)
    def options(self: Any, flags: Sequence[str] | None = None, **overrides: Any) -> None:
        if flags is None or isinstance(flags, str):
            parse(self, flags, **overrides)
            return
        known = parsed.get((type(self), tuple(flags)))
        if known is None:
            parse(self, flags, **overrides)
            parsed[type(self), tuple(flags)] = _copied(self._visible_options)
            return
        self._flags, self._visible_options, self._all_options = flags, _copied(known), overrides
        for name, value in vars(self._visible_options).items():
            self._all_options.setdefault(name, value)

    return options


def _copied(found: argparse.Namespace) -> argparse.Namespace:
    """Lists and tables are copied: they may be added to."""
    return argparse.Namespace(**{name: copy.copy(value) for name, value in vars(found).items()})
