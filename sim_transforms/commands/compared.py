"""How sizes, and an estimate beside its outcome, are shown to people."""

from collections.abc import Sequence
from typing import Any

_MIB = 2**20


def size(count: float) -> str:
    """Bytes in MiB, large ones in GiB."""
    return f"{count / _MIB:,.1f} MiB" if count < 10 * 1024 * _MIB else f"{count / _MIB / 1024:,.1f} GiB"


def counted(count: int, one: str, many: str = "") -> str:
    """A number and what it counts; the plural with an s where it is not given."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def compared_text(rows: Sequence[dict[str, Any]]) -> str:
    """One line a figure: predicted, measured, measured / predicted."""
    return "\n".join(f"{'estimate' if not number else '':<10} {_compared(row)}" for number, row in enumerate(rows))


def _compared(row: dict[str, Any]) -> str:
    shown = [size(row[k]) if row["name"].endswith("_bytes") else f"{row[k]:,.0f}" for k in ("predicted", "measured")]
    ratio = "-" if row["ratio"] is None else format(row["ratio"], ".3f")
    return f"{row['name'].removesuffix('_bytes'):<12} predicted {shown[0]:>12}, measured {shown[1]:>12}, ratio {ratio}"
