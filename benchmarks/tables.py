"""Markdown tables on standard output, progress on standard error, figures as JSON, and the machine they are from."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "nmslib", "hnswlib", "faiss-cpu", "apache-beam")
MIB = 2**20


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as their widest cell; raises ValueError where a row has other columns."""
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"the row {list(row)} has {len(row)} cells; {len(headers)} are expected: {list(headers)}")
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    lines = [headers, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def shown(value: float | None, digits: int = 0) -> str:
    """A number with thousands separated; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def median_of(values: Sequence[float | None]) -> float | None:
    """Median; null where any value is missing, because the others may not stand for it."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if values and len(present) == len(values) else None


def median_and_all(values: Sequence[float | None], digits: int = 1) -> str:
    """The median, and where there are several all values in the order of the rounds."""
    middle = shown(median_of(values), digits)
    return middle if len(values) < 2 else f"{middle} ({', '.join(shown(value, digits) for value in values)})"


def mebibytes(size_bytes: float | None) -> str:
    """Bytes as MiB."""
    return shown(None if size_bytes is None else size_bytes / MIB)


def section(title: str, *parts: str) -> None:
    """Prints a heading and what stands under it."""
    print("\n".join((f"\n### {title}\n", *parts)), flush=True)


def notify(message: str) -> None:
    """One line of progress on standard error."""
    print(message, file=sys.stderr, flush=True)


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Writes all figures, where a file is asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


def describe_machine() -> dict[str, Any]:
    """Processor, cores and versions, without which seconds say nothing."""
    versions = {name: _version(name) for name in PACKAGES}
    return {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def machine_line(machine: Mapping[str, Any]) -> str:
    """The machine in one line."""
    return ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
