"""What a page begins from: sounds, pictures, vectors that its reader has; and what stands for buckets and hours."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image
from sklearn.datasets import load_digits

from tests.pipelines.sound_catalogs import melody
from tests.unit.storage.published import some_vectors

_RATE, _SECONDS = 8000, 9
_SHORT = '"epochs": 1, "steps_per_epoch": 3, "examples_per_class": 4'


@dataclass(frozen=True)
class Given:
    """Of one page.

    Attributes:
        make: fills the reader's folder, and gives what the page's Python code finds.
        after_run: the page goes on from `ruiji run --config configs/digits.yaml`.
        replaced: text of the page -> what stands for it here.
        looked_at: commands, and blocks of Python, that hold one of these are looked at and not run, because a page or
            another test runs the like of them.
    """

    make: Callable[[Path], dict[str, Any]] = lambda home: {}
    after_run: bool = False
    replaced: dict[str, str] = field(default_factory=dict)
    looked_at: tuple[str, ...] = ()


def _songs(home: Path) -> dict[str, Any]:
    """Three albums of ten songs."""
    for album, base in (("spring", 220.0), ("summer", 440.0), ("winter", 880.0)):
        for number in range(10):
            path = home / "my-songs" / album / f"song-{number}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, melody(int(base) + number, _SECONDS, base), _RATE)
    return {}


def _shop(home: Path) -> dict[str, Any]:
    """Eighty products of four kinds: rectangles of a colour, at a place that the kind says."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(80):
        kind = ("lamp", "vase", "chair", "table")[number % 4]
        name = f"{kind}-{number // 4 + 1:02d}"
        pixels = generator.integers(200, 256, (40, 48, 3), np.uint8)
        place = 10 * (number % 4)
        pixels[place : place + 10, 8:40] = generator.integers(0, 200, 3)
        path = home / "data" / "pictures" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        colour = ("red", "blue", "green")[number % 3]
        rows.append([name, f"pictures/{name}.jpg", kind, f"{10 + number:.2f}", colour, str(number % 5 > 0).lower()])
    with (home / "data" / "shop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["item_id", "uri", "label", "price", "colour", "in_stock"], *rows])
    return {}


def _arrays(home: Path) -> dict[str, Any]:
    """Digits as arrays, and vectors."""
    pictures, labels = load_digits(return_X_y=True)
    images = np.rint(pictures[:160].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    _vectors(home)
    return {
        "pictures": images[:120],
        "labels": labels[:120].tolist(),
        "others": images[120:],
        "other_labels": labels[120:160].tolist(),
        "names": [f"digit {number}" for number in range(120, 160)],
        "queries": images[:2],
        "vectors": np.load(home / "vectors.npy")[:40],
    }


def _vectors(home: Path) -> None:
    """Vectors made elsewhere: as Parquet with a price, as .npy with names, and longer ones for `layout: routed`."""
    vectors = some_vectors(items=300)
    ids = [f"shoe-{number}" for number in range(len(vectors))]
    values = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
    price = pa.array(np.arange(len(vectors), dtype=np.float64))
    pq.write_table(pa.table({"item_id": ids, "embedding": values, "price": price}), home / "vectors.parquet")
    np.save(home / "vectors.npy", vectors)
    (home / "names.txt").write_text("\n".join(f"name {number}" for number in range(len(vectors))) + "\n")


def _readme(home: Path) -> dict[str, Any]:
    """Pictures, vectors, and a catalog of digits that has changed since it was indexed."""
    _shop(home)
    shutil.copytree(home / "data" / "pictures", home / "PICTURES" / "pets")
    catalog = home / "work" / "digits" / "catalog" / "catalog-0.csv"
    catalog.write_text("".join(catalog.read_text().splitlines(keepends=True)[:-1]))
    return _arrays(home)


# The like of what the README says is followed there, and in tests/trainer.
_ON_PAGES = ("configs/songs.yaml", "configs/pets.yaml", "SimilarityModel", "ruiji tune", "--compare")
_IN_TRAINER = ("--trials", "train.epochs=20")
_TUTORIAL = Given(after_run=True)
GIVEN = {
    "tutorial.md": _TUTORIAL,
    "index.md": _TUTORIAL,
    "nightly.md": _TUTORIAL,
    "operate.md": _TUTORIAL,
    "songs.md": Given(_songs),
    "shop.md": Given(_shop, replaced={'weights="imagenet"': "weights=None"}),
    "notebook.md": Given(_arrays, replaced={'"epochs": 5': _SHORT}),
    "README.md": Given(
        _readme,
        after_run=True,
        replaced={
            "gs://bucket/shop --model work/shop/model": "work/digits/store --model work/digits/model",
            "gs://bucket/prefix": "work/bucket",
            "/fast/disk/ruiji": "work/cache",
        },
        looked_at=(*_ON_PAGES, *_IN_TRAINER),
    ),
}
