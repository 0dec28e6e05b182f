"""What a killed training goes on from: arrays and plain values of one step in one file, which is whole or not there."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.storage.files import replace_file

Array = np.ndarray[Any, Any]

# A file that was damaged on its disk leaves the one before.
_KEPT = 2
_PLAIN = "plain"


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    step: steps done.
    arrays: by name.
    plain: what else the loop needs, as JSON holds it; arrays of numbers come back as lists.
    """

    step: int
    arrays: dict[str, Array]
    plain: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: of nothing else but these; made where missing.
    """

    def __init__(self, folder: Path) -> None:
        """Removes nothing."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, and removes all but it and the one before."""
        stored: dict[str, Any] = {f"array:{name}": value for name, value in checkpoint.arrays.items()}
        stored[_PLAIN] = np.frombuffer(json.dumps(checkpoint.plain, default=_as_list).encode(), np.uint8)
        with (
            replace_file(self._folder / f"checkpoint-{checkpoint.step:09d}.npz") as temporary,
            temporary.open("wb") as file,
        ):
            np.savez(file, **stored)
        for path in self._paths()[:-_KEPT]:
            path.unlink()

    def load(self) -> Checkpoint | None:
        """The last one that is whole; null where there is none."""
        for path in reversed(self._paths()):
            try:
                return _read(path)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue  # the one before it is older, but whole
        return None

    def clear(self) -> None:
        """Removes all."""
        for path in self._paths():
            path.unlink()

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("checkpoint-*.npz"))


def _as_list(array: Array) -> list[Any]:
    return list(array.tolist())


def _read(path: Path) -> Checkpoint:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = {name.removeprefix("array:"): stored[name] for name in stored.files if name != _PLAIN}
        plain = json.loads(stored[_PLAIN].tobytes())
    return Checkpoint(int(path.stem.rpartition("-")[2]), arrays, plain)
