"""An uploaded picture or sound -> vectors, by the model of the version that answers.

Uploads are decoded in processes of their own (`media.guard`), which a file can neither fill nor stop for others; they
lie in a private folder under names of ours, never under a name from a request.
"""

import queue
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import MediaError, ModelMismatch, UsageError
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.media.guard import Bounds, GuardedDecoder
from sim_transforms.records.manifests import ModelManifest

Array = np.ndarray[Any, Any]


class Uploads:
    """Embeds uploads. A context manager; safe for several threads.

    Args:
        model: folder of the model, which may be trained anew while this is open.
        bounds: of decoding one file.
        decoders: processes that decode side by side.
    """

    def __init__(self, model: Path, bounds: Bounds, decoders: int) -> None:
        self._model, self._bounds, self._count = model, bounds, decoders
        self._lock = threading.Lock()
        self._loaded: tuple[Any, _Decoders] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="ruiji-uploads-")

    def __enter__(self) -> "Uploads":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._loaded is not None:
                self._loaded[1].retire()
        self._folder.cleanup()

    def warm(self, opened: OpenVersion) -> None:
        """Loads the model; raises ModelMismatch, NotFound or DamagedArtefact."""
        self._ready(opened)

    def embed(self, opened: OpenVersion, data: bytes) -> tuple[Array, list[float]]:
        """[parts, dim] float32 of one file, and where each part begins in seconds.

        Raises:
            MediaError: it cannot be decoded, or took more than is allowed.
            ModelMismatch: the model is not the one that the version was made with.
            UsageError: the version was made without one.
        """
        embedder, decoders = self._ready(opened)
        with tempfile.NamedTemporaryFile(dir=self._folder.name) as file, decoders.one() as decoder:
            file.write(data)
            file.flush()
            (found,) = decoder.decode([file.name])
        if isinstance(found, MediaError):
            raise found
        parts = found.content.parts
        return embedder.embed([part.media for part in parts]), [part.start or 0.0 for part in parts]

    def _ready(self, opened: OpenVersion) -> "tuple[Any, _Decoders]":
        wanted = opened.manifest.model
        if not wanted:
            raise UsageError("this version was made from vectors without a model: search it by vector or item_id")
        with self._lock:
            if self._loaded is None or self._loaded[0].manifest.fingerprint != wanted:
                before, self._loaded = self._loaded, self._load(wanted)
                if before is not None:
                    before[1].retire()
            return self._loaded

    def _load(self, wanted: str) -> "tuple[Any, _Decoders]":
        found = ModelManifest.load(self._model)
        if found.fingerprint != wanted:
            raise ModelMismatch(
                f"the version was made with model {wanted[:16]}, and {found.fingerprint[:16]} is here: search by "
                "vector or item_id, or restart the service with --model"
            )
        from sim_transforms.embedding.saved_model import SavedModelEmbedder

        embedder = SavedModelEmbedder.load(str(self._model), None)
        return embedder, _Decoders([GuardedDecoder(found.media, self._bounds) for _ in range(self._count)])


class _Decoders:
    """Decoders that several threads take turns with.

    Args:
        decoders: none of them started.
    """

    def __init__(self, decoders: list[GuardedDecoder]) -> None:
        self._free: queue.SimpleQueue[GuardedDecoder] = queue.SimpleQueue()
        self._retired = False
        for decoder in decoders:
            self._free.put(decoder)

    @contextmanager
    def one(self) -> Iterator[GuardedDecoder]:
        """A decoder that is free, waited for."""
        decoder = self._free.get()
        try:
            yield decoder
        finally:
            self._free.put(decoder)
            if self._retired:
                self.retire()

    def retire(self) -> None:
        """Ends those that are free, and the others once they are."""
        self._retired = True
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().end()
