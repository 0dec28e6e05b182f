"""Pictures for the page of a version, out of `examples/`."""

import io
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from sim_transforms.features.example_bytes import features_of
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.report.media_page import LONGEST_SIDE
from sim_transforms.report.page import picture_png, thumbnail
from sim_transforms.storage.tfrecord import read_record

Array = np.ndarray[Any, Any]

# Of a colour picture: a third of the bytes, and hardly told from the whole at this size.
_COLOURS = 128


def small_png(pixels: Array) -> bytes:
    """PNG of [h, w, 1 or 3] uint8; colours are rounded to a palette of the picture's own."""
    if pixels.shape[2] == 1:
        return picture_png(pixels)
    whole, buffer = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    whole.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, "PNG")
    return buffer.getvalue()


class ExamplePictures:
    """Small pictures of the decoded media of a folder; of clips their log-mel spectra.

    Pictures are read without TensorFlow, which the process that publishes an index need not have loaded.

    Args:
        examples: the folder; one that holds no whole artefact has no pictures.
    """

    def __init__(self, examples: Path) -> None:
        """Reads nothing before the first picture is asked for."""
        self._examples = examples

    def __call__(self, item_id: str, digest: str) -> bytes | None:
        """PNG of an item, where its media are these; at most 64 pixels a side."""
        if item_id not in self._places:
            return None
        shard, offset, length = self._places[item_id]
        path = self._examples / self._manifest.example_file(shard)
        with path.open("rb") as file:
            features = features_of(read_record(file.fileno(), offset, length, str(path)))
        return self._png(features["media"]) if features["digest"].decode() == digest else None

    def _png(self, media: bytes) -> bytes:
        shape = self._manifest.media
        decoded = np.frombuffer(media, shape.dtype).reshape(shape.shape)
        if shape.sound is None:
            return small_png(thumbnail(decoded, LONGEST_SIDE))
        from sim_transforms.commands.thumbnails import media_png

        return media_png(decoded, shape)

    @cached_property
    def _manifest(self) -> ExamplesManifest:
        return ExamplesManifest.load(self._examples)

    @cached_property
    def _places(self) -> dict[str, tuple[int, int, int]]:
        """Shard, offset and length of each record."""
        if not (self._examples / "manifest.json").is_file():
            return {}
        columns = pq.read_table(self._examples / "offsets.parquet", columns=["item_id", "shard", "offset", "length"])
        rows = zip(*(column.to_pylist() for column in columns.columns), strict=True)
        return {item_id: (shard, offset, length) for item_id, shard, offset, length in rows}
