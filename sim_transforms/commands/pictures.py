"""Pictures that are arrays, through the decoder and the model that files go through."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim_transforms.commands.search import Source, open_source
from sim_transforms.errors import UsageError
from sim_transforms.lookup.open import Match, OpenVersion
from sim_transforms.media.decode import decode_media
from sim_transforms.report.page import picture_png

if TYPE_CHECKING:
    from sim_transforms.embedding.saved_model import SavedModelEmbedder

__all__ = ["Matches", "PictureSearch", "checked_pictures", "picture_png"]

Array = np.ndarray[Any, Any]
# Of each query the items found, nearest first.
Matches = list[list[Match]]


def checked_pictures(pictures: Array) -> Array:
    """[n, height, width, 1 or 3] uint8 of [n, height, width] or [n, height, width, 1 or 3] from 0 to 255.

    Raises:
        UsageError: another shape, numbers out of that range, or none at all.
    """
    values = np.asarray(pictures)
    values = values[..., None] if values.ndim == 3 else values
    if values.ndim != 4 or values.shape[3] not in (1, 3) or 0 in values.shape[1:]:
        expected = "[n, height, width] or [n, height, width, 1 or 3]"
        raise UsageError(f"pictures: found shape {np.shape(pictures)}; {expected} is expected")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "iuf" or not ((values >= 0) & (values <= 255)).all():
        raise UsageError(f"pictures: found {values.dtype}; numbers from 0 to 255 are expected")
    if values.size and values.dtype.kind == "f" and 0 < values.max() <= 1:
        raise UsageError("pictures: all numbers are from 0 to 1; numbers from 0 to 255 are expected: multiply by 255")
    return np.rint(values).astype(np.uint8)


class PictureSearch:
    """A model, and the version of a store that was made with it; each is opened when it is first asked.

    Args:
        model: folder of the model.
        store: of the published versions; LATEST is asked.
    """

    def __init__(self, model: Path, store: str) -> None:
        """Opens nothing yet."""
        self._model, self._store = model, store
        self._embedder: SavedModelEmbedder | None = None
        self._version: OpenVersion | None = None

    @property
    def version(self) -> OpenVersion:
        """The open version.

        Raises:
            NotFound: nothing is published.
        """
        if self._version is None:
            self._version = open_source(Source(self._store))
        return self._version

    def embed(self, pictures: Array) -> Array:
        """[n, d] float32 of pictures of any size, decoded as the items of the model were.

        Raises:
            NotFound: there is no model.
            UsageError: no pictures, or a model of sounds.
        """
        if self._embedder is None:
            from sim_transforms.embedding.saved_model import SavedModelEmbedder

            self._embedder = SavedModelEmbedder.load(str(self._model), None)
        shape = self._embedder.manifest.media
        if shape.kind != "image":
            raise UsageError("this model embeds sounds, not pictures")
        decoded = (decode_media(picture_png(picture), shape) for picture in checked_pictures(pictures))
        return self._embedder.embed([part.media for found in decoded for part in found.parts])

    def lookup(self, pictures: Array, k: int, where: str | None = None) -> Matches:
        """The k nearest items of each picture, nearest first."""
        if k < 1:
            raise UsageError(f"k: found {k}; at least 1 is expected")
        return self.version.search(self.embed(pictures), k, where=where)

    def close(self) -> None:
        """Closes the version."""
        if self._version is not None:
            self._version.close()
