"""`ruiji serve`: the parts of the service put together for a store, a model and a catalog's pictures."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from sim_transforms.commands.artefacts import DecodedMedia
from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.media.guard import Bounds
from sim_transforms.service.app import Parts, make_app
from sim_transforms.service.gate import read_keys
from sim_transforms.service.metrics import Metrics
from sim_transforms.service.served import Served
from sim_transforms.service.server import listen
from sim_transforms.service.uploads import Uploads
from sim_transforms.service.work import Workers
from sim_transforms.settings.serving import ServeSettings
from sim_transforms.storage.cache import VersionCache
from sim_transforms.storage.object_store import ObjectStore
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import latest, load_manifest, whole_versions

# Uploads that are decoded side by side, and wait.
_DECODERS, _UPLOADS_WAITING = 2, 32


@dataclass(frozen=True, kw_only=True)
class ServeSource:
    """What is served.

    Attributes:
        store_url: of the published versions.
        bounds: of decoding one upload.
        probe, memory_budget_mib: of a routed version, or null.
        cache: folder for the files of a remote store; in the user's cache folder where not given.
        model: folder of the model that embeds uploads; null: uploads are refused.
        examples: folder whose decoded media are the items' pictures; null: there are none.
    """

    store_url: str
    bounds: Bounds
    probe: int | None = None
    memory_budget_mib: int | None = None
    cache: Path | None = None
    model: Path | None = None
    examples: Path | None = None


def serve(source: ServeSource, settings: ServeSettings, started: Callable[[str, str, int], None]) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        source: what is served.
        settings: where, to whom, how much.
        started: told the address, the version and its items once requests are answered.

    Raises:
        NotFound: nothing is published.
        UsageError: the file of keys cannot be used, or the address not be listened at.
    """
    with service(source, settings) as (app, opened):
        listen(app, settings, lambda url: started(url, opened.version, opened.manifest.items))


@contextmanager
def service(source: ServeSource, settings: ServeSettings) -> Iterator[tuple[ASGIApp, OpenVersion]]:
    """The application and the version that it begins with; ended on leaving.

    Raises:
        NotFound: nothing is published.
        UsageError: the file of keys cannot be used.
    """
    keys, store = read_keys(settings.api_keys_file), open_store(source.store_url)
    opener = partial(_open, source, VersionCache(source.cache))
    threads = _cores() if settings.threads == "auto" else settings.threads
    with ExitStack() as stack:
        served = stack.enter_context(Served(partial(latest, store), opener, settings.poll_seconds))
        workers = Workers(threads, settings.waiting, settings.timeout_seconds)
        stack.callback(workers.close)
        decoding = Workers(_DECODERS, _UPLOADS_WAITING, settings.timeout_seconds)
        stack.callback(decoding.close)
        uploads = stack.enter_context(Uploads(source.model, source.bounds, _DECODERS)) if source.model else None
        if uploads is not None and served.current.manifest.model:
            uploads.warm(served.current)
        parts = Parts(
            served=served,
            settings=settings,
            workers=workers,
            decoding=decoding,
            uploads=uploads,
            published=partial(published_versions, store),
            picture=_pictures(source.examples),
            metrics=Metrics(served, lambda: workers.there + decoding.there),
        )
        yield make_app(parts, keys), served.current


def _open(source: ServeSource, cache: VersionCache, version: str) -> OpenVersion:
    return open_version(
        source.store_url, version, source.probe, source.memory_budget_mib, cache, lease=_is_writable(source.store_url)
    )


def _is_writable(store_url: str) -> bool:
    """A store on this machine that only others may write is served without a lease."""
    return "://" in store_url or os.access(store_url, os.W_OK)


def published_versions(store: ObjectStore) -> list[dict[str, Any]]:
    """The whole versions of a store, oldest first, as `VersionAnswer` tells them but for which is served."""
    try:
        current = latest(store)
    except DamagedArtefact:
        current = None  # `/healthz` tells it.
    shown = []
    for info in whole_versions(store, current):
        try:
            manifest = load_manifest(store, info.version)
        except (NotFound, DamagedArtefact):
            continue
        shown.append(
            {
                "version": info.version,
                "items": manifest.items,
                "dimension": manifest.dimension,
                "space": manifest.space,
                "created": datetime.fromtimestamp(info.created_seconds, UTC).isoformat(timespec="seconds"),
                "latest": info.is_latest,
            }
        )
    return shown


def _pictures(examples: Path | None) -> Callable[[str], bytes | None] | None:
    """PNG of an item's decoded media, null where it has none."""
    if examples is None or not (examples / "manifest.json").is_file():
        return None
    media = DecodedMedia(examples)

    def picture(item_id: str) -> bytes | None:
        from sim_transforms.commands.thumbnails import media_png

        return media_png(media.pixels([item_id])[0], media.manifest.media) if item_id in media else None

    return picture


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
