"""Data as scripts: each file calls a function of the page, because a page in a folder may load scripts and no data.

    ruiji.rows(12, [
    entry,
    null
    ])

An entry stands on a line of its own, so that a later version can take pictures out of an earlier one by their lines.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Rows of a file. Of pictures fewer: what one photograph's neighbours need may lie in twelve files.
CHUNKS = {"rows": 256, "pictures": 64}
# Larger integers are rounded in a browser.
_MOST_EXACT = 2**53 - 1


def script(function: str, about: Any, entries: Iterable[Any]) -> bytes:
    """A call of `ruiji.<function>(about, entries)`, in ASCII whatever stands in it."""
    lines = ",\n".join(literal(entry) for entry in entries)
    return f"{opening(function, about)}\n{lines}\n])\n".encode("ascii")


def opening(function: str, about: Any) -> str:
    """The first line of that."""
    return f"ruiji.{function}({literal(about)}, ["


def literal(value: Any) -> str:
    """A value as a literal that is safe in a script, also in one that stands within HTML."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def shown(value: Any) -> Any:
    """A value of metadata as a browser can hold it: large integers as text, numbers that are none as null."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MOST_EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def chunk_path(folder: Path, kind: str, chunk: int) -> Path:
    """File of a chunk: of `rows` or `pictures`."""
    return folder / kind / f"{chunk:06d}.js"
