"""Pictures for the page of a version, out of `examples/`."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sim_transforms.report.page import picture_png

if TYPE_CHECKING:
    from sim_transforms.commands.artefacts import DecodedMedia

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

    Args:
        examples: the folder; one that holds no whole artefact has no pictures.
    """

    def __init__(self, examples: Path) -> None:
        """Opens nothing, and imports no TensorFlow, before the first picture is asked for."""
        self._examples = examples
        self._media: DecodedMedia | None = None

    def __call__(self, item_id: str, digest: str) -> bytes | None:
        """PNG of an item, where its media are these; at most 64 pixels a side."""
        if not (self._examples / "manifest.json").is_file():
            return None
        from sim_transforms.commands.artefacts import DecodedMedia
        from sim_transforms.commands.media_samples import thumbnail
        from sim_transforms.commands.thumbnails import media_png

        self._media = self._media or DecodedMedia(self._examples)
        if item_id not in self._media:
            return None
        record = self._media.record(item_id)
        if record.digest != digest:
            return None
        shape, decoded = self._media.manifest.media, self._media.decoded(record)
        return small_png(thumbnail(decoded)) if shape.sound is None else media_png(decoded, shape)
