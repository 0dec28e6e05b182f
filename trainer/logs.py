"""What is told of a training while it runs: a line of JSON a step, and TensorBoard's files.

None of it is part of an artefact.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]

_NEIGHBOURS, _ROWS = 5, 8
_POINTS = 2_000


class StepLog:
    """A line of JSON a step and one an epoch in `steps.jsonl`, for machines.

    Args:
        path: of the file.
        done: steps that a resumed training begins after; lines of later ones are taken out.
    """

    def __init__(self, path: Path, done: int) -> None:
        """Opens the file."""
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        kept = [line for line in lines if _step_of(line) <= done]
        write_file(path, "".join(f"{line}\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, **values: Any) -> None:
        """Adds a line."""
        self._file.write(json.dumps(values) + "\n")


def _step_of(line: str) -> float:
    """Of a line that was cut short: after all others."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class Board:
    """TensorBoard's files: losses, distances and metrics, neighbours as pictures, and vectors for the projector.

    Args:
        folder: of its own.
    """

    def __init__(self, folder: Path) -> None:
        """Makes the folder."""
        self._folder = folder
        self._writer = tf.summary.create_file_writer(str(folder))

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Adds a point to a curve each."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(f"{group}/{name}", value)

    def neighbours(self, pictures: Array, vectors: Array, step: int) -> None:
        """A grid of pictures [n, h, w, c]: a row a query, and beside it its nearest neighbours among [n, d] vectors."""
        queries = vectors[:_ROWS]
        near = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, : _NEIGHBOURS + 1]
        low, high = pictures.min(), pictures.max()
        shown = (pictures[near] - low) / max(float(high - low), 1e-6)
        rows = [np.concatenate(list(row), axis=1) for row in shown]
        grid = np.concatenate(rows, axis=0)[None, ..., :3]
        with self._writer.as_default(step=step):
            tf.summary.image("neighbours", grid if grid.shape[-1] == 3 else grid[..., :1])

    def project(self, vectors: Array, names: Sequence[Sequence[str]]) -> None:
        """Vectors [n, d] and, of each, its id and label, for the projector."""
        rows = "".join("\t".join(f"{value:.6g}" for value in vector) + "\n" for vector in vectors[:_POINTS])
        write_file(self._folder / "vectors.tsv", rows.encode())
        told = "item_id\tlabel\n" + "".join("\t".join(_cell(text) for text in row) + "\n" for row in names[:_POINTS])
        write_file(self._folder / "items.tsv", told.encode())
        tensor = 'embeddings {\n  tensor_path: "vectors.tsv"\n  metadata_path: "items.tsv"\n}\n'
        write_file(self._folder / "projector_config.pbtxt", tensor.encode())

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


def _cell(text: str) -> str:
    return " ".join(text.split()) or "-"
