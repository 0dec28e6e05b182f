"""The built-in catalog: scikit-learn's 1,797 handwritten digits (UCI, Alpaydin & Kaynak 1998) as PNG files."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sim_transforms.records.items import split_of
from sim_transforms.storage.files import write_file

COUNT = 1797


def write_digits(folder: Path, seed: int) -> Path:
    """Writes `digit-0000.png`..., 8 x 8 grey, and `catalog-<seed>.csv`; gives the path of the catalog.

    The catalog is written last, so that a killed run leaves none; one that is there is taken as it is.

    Args:
        folder: made if it is missing.
        seed: of the split.
    """
    catalog = folder / f"catalog-{seed}.csv"
    if catalog.is_file():
        return catalog
    from sklearn.datasets import load_digits

    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    lines = ["item_id,uri,label,split"]
    for row, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        item_id = f"digit-{row:04d}"
        _write_picture(folder / f"{item_id}.png", np.rint(pixels * 255 / 16).astype(np.uint8))
        lines.append(f"{item_id},{item_id}.png,{label},{split_of(item_id, seed)}")
    write_file(catalog, ("\n".join(lines) + "\n").encode())
    return catalog


def _write_picture(path: Path, pixels: Any) -> None:
    """Leaves a file of the same content as it is, with its time: other catalogs of the folder name it too."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        path.write_bytes(buffer.getvalue())
