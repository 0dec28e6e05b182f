"""What values of settings are held against: each raises ValueError("<key>: <what is allowed>")."""

import math


def at_least(name: str, value: float, low: float) -> None:
    """Raises ValueError for a smaller value, and for one that is no finite number."""
    if not low <= value < math.inf:
        raise ValueError(f"{name}: at least {low} is expected")


def above_zero(name: str, value: float) -> None:
    """Raises ValueError for 0 and less, and for what is no finite number."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: a number above 0 is expected")


def share(name: str, value: float) -> None:
    """Raises ValueError for what is no share."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}: a share from 0 to 1 is expected")
