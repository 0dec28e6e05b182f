"""How often long tests repeat: a share in every run of the suite, and all that was promised where it is asked for.

RUIJI_THOROUGH=1 in the environment asks (`make test-thorough`).
"""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

THOROUGH = os.environ.get("RUIJI_THOROUGH") == "1"


def rounds(many: int, few: int) -> int:
    """`many` where thoroughness is asked for, else `few`."""
    return many if THOROUGH else few


def some(all_of_them: Sequence[T], few: int) -> list[T]:
    """All where thoroughness is asked for, else `few` that lie evenly among them, the first included."""
    return list(all_of_them) if THOROUGH else [all_of_them[n * len(all_of_them) // few] for n in range(few)]
