"""Parts of a loss that are saved with it: made from keyword arguments, told again as such."""

from typing import Any, Self


class Configured:
    """An object without parameters; who has some tells them."""

    def get_config(self) -> dict[str, Any]:
        """Parameters, for saving."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Inverse of `get_config`."""
        return cls(**config)
