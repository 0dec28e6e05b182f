"""Loads an exported model and embeds decoded media, always at one batch shape.

TensorFlow's results change in their last bits with the size of the batch, so every call is padded to the same
one; a query is embedded as the item was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from sim_transforms.errors import DamagedArtefact
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.records.media import MediaShape

Array = np.ndarray[Any, Any]

_MOST_BATCH, _BATCH_BYTES = 256, 8 * 2**20


def batch_size(media: MediaShape) -> int:
    """Items in a batch, everywhere: 256, fewer of large media, so that a batch holds at most 8 MiB of them."""
    return max(1, min(_MOST_BATCH, _BATCH_BYTES // media.item_bytes))


class SavedModelEmbedder:
    """A loaded model.

    Attributes:
        manifest: of the model.
    """

    def __init__(self, loaded: Any, manifest: ModelManifest) -> None:
        """Keeps the loaded object: its variables die with it."""
        self._loaded, self.manifest = loaded, manifest
        self._signature = loaded.signatures["serving_default"]
        self._media_bytes, self._batch = manifest.media.item_bytes, batch_size(manifest.media)

    @classmethod
    def load(cls, path: str, intra_op_threads: int | None) -> Self:
        """Loads `model/`.

        Args:
            path: of the folder.
            intra_op_threads: threads of an operation; null leaves TensorFlow's choice. Set before TensorFlow's first
                operation in a process, without effect after it.

        Raises:
            NotFound: no whole model there.
            DamagedArtefact: TensorFlow cannot load it.
        """
        manifest = ModelManifest.load(Path(path))
        _limit_threads(intra_op_threads)
        try:
            loaded = tf.saved_model.load(str(Path(path) / "saved_model"))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise DamagedArtefact(f"{path}/saved_model cannot be loaded: {error}; train again") from error
        return cls(loaded, manifest)

    def embed(self, media: Sequence[bytes]) -> Array:
        """[n] row-major bytes of decoded media -> [n, dim] float32, unit length."""
        wrong = [len(m) for m in media if len(m) != self._media_bytes]
        if wrong:
            raise DamagedArtefact(f"decoded media of {wrong[0]} bytes; this model takes {self._media_bytes}")
        blocks = [self._block(media[i : i + self._batch]) for i in range(0, len(media), self._batch)]
        return np.concatenate([np.zeros((0, self.manifest.embedding_size), np.float32), *blocks])

    def _block(self, media: Sequence[bytes]) -> Array:
        padded = [*media, *[bytes(self._media_bytes)] * (self._batch - len(media))]
        vectors: Array = self._signature(media=tf.constant(padded))["embedding"].numpy()
        return vectors[: len(media)]


def _limit_threads(intra_op_threads: int | None) -> None:
    if intra_op_threads is None or tf.config.threading.get_intra_op_parallelism_threads() == intra_op_threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
    except RuntimeError:
        # TensorFlow has started in this process already; its number of threads is no part of the result.
        return
