"""Small pictures of items for pages: from the catalog's media, or where these are gone from `examples/`."""

import contextlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from sim_transforms.commands.artefacts import DecodedMedia
from sim_transforms.commands.whereabouts import catalog_entries
from sim_transforms.errors import MediaError
from sim_transforms.media.fetch_ahead import read_anywhere
from sim_transforms.media.image import decode_image
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles
from sim_transforms.records.items import MediaRef
from sim_transforms.records.media import MediaShape
from sim_transforms.report.page import picture_png

LONGEST_SIDE = 64


def thumbnails(
    ids: Collection[str],
    shape: MediaShape,
    source: str,
    allow_outside: bool,
    examples: Path,
    files: RemoteFiles = LOCAL_ONLY,
) -> dict[str, bytes]:
    """PNG of each item that has a picture somewhere, at most LONGEST_SIDE pixels high and wide.

    Args:
        ids: of the items.
        shape: of decoded media; the sides of the thumbnails stand as its sides do.
        source: the catalog.
        allow_outside: whether its uris may leave its folder.
        examples: folder that may hold decoded media.
        files: where a catalog and media with a scheme lie.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    small = _small(shape)
    pictures: dict[str, bytes] = {}
    for entry in catalog_entries(source, allow_outside, files):
        if isinstance(entry, MediaRef) and entry.item_id in ids:
            with contextlib.suppress(MediaError):
                pictures[entry.item_id] = picture_png(decode_image(read_anywhere(entry.uri, files), small))
    return {**_prepared([i for i in ids if i not in pictures], examples), **pictures}


def _small(shape: MediaShape) -> MediaShape:
    height, width, channels = shape.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    sides = max(1, round(height * scale)), max(1, round(width * scale))
    return replace(shape, shape=(*sides, channels))


def _prepared(ids: list[str], examples: Path) -> dict[str, bytes]:
    """Of items that are no longer in the catalog, as preprocessing left them."""
    if not ids or not (examples / "manifest.json").is_file():
        return {}
    media = DecodedMedia(examples)
    return {item_id: picture_png(media.pixels([item_id])[0]) for item_id in ids if item_id in media}
