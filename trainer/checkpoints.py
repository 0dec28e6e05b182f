"""What a killed training goes on from: arrays and plain values of one step in one file, which is whole or not there."""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.storage.files import replace_file

Array = np.ndarray[Any, Any]

# A file that was damaged on its disk leaves the one before.
_KEPT = 2
_PLAIN = "plain"
# What readers of damaged archives raise; RuntimeError of a bit that says that it is encrypted.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


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
        told = {"step": checkpoint.step, "arrays": sorted(checkpoint.arrays), "plain": checkpoint.plain}
        stored[_PLAIN] = np.frombuffer(json.dumps(told, default=_as_list).encode(), np.uint8)
        with (
            replace_file(self._folder / _name(checkpoint.step)) as temporary,
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
            except _DAMAGED:
                continue  # the one before it is older, but whole
        return None

    def clear(self) -> None:
        """Removes all."""
        for path in self._paths():
            path.unlink()

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("checkpoint-*.npz") if path.is_file())


def _as_list(array: Array) -> list[Any]:
    return list(array.tolist())


def _read(path: Path) -> Checkpoint:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = {name.removeprefix("array:"): stored[name] for name in stored.files if name != _PLAIN}
        told = json.loads(stored[_PLAIN].tobytes())
    if sorted(arrays) != told["arrays"] or path.name != _name(told["step"]):
        raise ValueError(f"{path}: not the arrays, or not the step, that were saved")
    return Checkpoint(told["step"], arrays, told["plain"])


def _name(step: int) -> str:
    return f"checkpoint-{step:09d}.npz"
