"""Uploads that unfold to far more than they are: refused, and the service holds no more memory than before."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from sim_transforms.lookup.open import OpenVersion
from sim_transforms.media.guard import Bounds, GuardedDecoder
from sim_transforms.records.media import MediaShape
from sim_transforms.service.uploads import Uploads, _Decoders
from sim_transforms.settings.serving import ServeSettings
from tests.pipelines.hostile_media import hostile_files
from tests.unit.service.services import Service, small_service
from tests.unit.storage.published import published_store, some_vectors

_SHAPE = MediaShape("image", "uint8", (4, 2, 1))
# Of the parent; a picture of 48 million pixels is 137 MiB, one of 60,000 x 60,000 is 10 GiB.
_MOST_GROWTH_BYTES = 40 * 2**20


class _Pixels:
    """Stands in for a network: the vector of a picture is its pixels."""

    def embed(self, media: list[bytes]) -> np.ndarray[Any, Any]:
        return np.stack([np.frombuffer(each, np.uint8).astype(np.float32) + 1.0 for each in media])


class _Decoding(Uploads):
    """The real decoder in its own process, before a model that stands in."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"), Bounds(5.0, 256 * 2**20), 1)
        self.ready: tuple[Any, _Decoders] = (_Pixels(), _Decoders([GuardedDecoder(_SHAPE, self._bounds)]))
        self._loaded = self.ready

    def _ready(self, opened: OpenVersion) -> tuple[Any, _Decoders]:
        return self.ready


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store, _ = published_store(tmp_path_factory.mktemp("served"), some_vectors())
    with _Decoding() as uploads, small_service(store, ServeSettings(), uploads=uploads) as found:
        yield found


def _picture(side: tuple[int, int], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("1", side).save(buffer, kind)
    return buffer.getvalue()


def test_decompression_bombs_are_refused_with_memory_flat(service: Service) -> None:
    good = _picture((90, 60))
    bombs = {each.name: each.content for each in hostile_files() if each.name in ("bomb.png", "bomb.gif")}
    # A kilobyte a million pixels: below the bound of pixels, so that it is decoded, and above it.
    bombs |= {"wide.png": _picture((49_000, 1_000)), "square.png": _picture((20_000, 20_000))}
    bombs |= {"packed.png": gzip.compress(bytes(300 * 2**20))}
    assert service.client.post("/search", files={"media": good}).status_code == 200
    process = psutil.Process()
    before = process.memory_info().rss
    statuses: dict[str, set[int]] = {}
    for _ in range(3):
        for name, content in bombs.items():
            found = service.client.post("/search", files={"media": content})
            statuses.setdefault(name, set()).add(found.status_code)
            assert process.memory_info().rss - before < _MOST_GROWTH_BYTES, name
    assert statuses.pop("wide.png") <= {200, 422}
    assert set().union(*statuses.values()) == {422}
    assert service.client.post("/search", files={"media": good}).status_code == 200


def test_packed_bodies_are_not_unpacked(service: Service) -> None:
    before = psutil.Process().memory_info().rss
    body = gzip.compress(b'{"queries": [' + b" " * (200 * 2**20))
    head = {"content-type": "application/json", "content-encoding": "gzip"}
    assert service.client.post("/search", content=body, headers=head).status_code in (400, 415, 422)
    assert psutil.Process().memory_info().rss - before < _MOST_GROWTH_BYTES
