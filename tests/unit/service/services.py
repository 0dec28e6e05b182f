"""A small service over a published version, without a socket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.testclient import TestClient

from sim_transforms.commands.serve import published_versions
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.service.app import Parts, make_app
from sim_transforms.service.metrics import Metrics
from sim_transforms.service.served import Served
from sim_transforms.service.uploads import Uploads
from sim_transforms.service.work import Workers
from sim_transforms.settings.serving import ServeSettings
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.versions import latest

HOST = "http://localhost"


@dataclass(frozen=True)
class Service:
    """Attributes:
    client: that asks it.
    parts: of it.
    app: ASGI, behind its gate.
    """

    client: TestClient
    parts: Parts
    app: Any


@contextmanager
def small_service(
    store: ObjectStore,
    settings: ServeSettings | None = None,
    keys: tuple[bytes, ...] = (),
    uploads: Uploads | None = None,
    picture: Callable[[str], bytes | None] | None = None,
) -> Iterator[Service]:
    """A service that looks at LATEST when it is told to (`parts.served.look`)."""
    chosen = settings or ServeSettings()
    opener = partial(_open, store.url)
    workers = Workers(2, chosen.waiting, chosen.timeout_seconds)
    with Served(partial(latest, store), opener, poll_seconds=3600.0) as served:
        parts = Parts(
            served=served,
            settings=chosen,
            workers=workers,
            decoding=workers,
            uploads=uploads,
            published=partial(published_versions, store),
            picture=picture,
            metrics=Metrics(served, lambda: workers.there),
        )
        app = make_app(parts, keys)
        with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
            yield Service(client, parts, app)
        workers.close()


def _open(url: str, version: str) -> OpenVersion:
    return open_version(url, version, lease=True)
