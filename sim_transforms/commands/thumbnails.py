"""Small pictures of items for pages: from the catalog's media, or where these are gone from `examples/`.

A clip is shown as its log-mel spectrum, low sounds at the bottom; a sound as its first clip.
"""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sim_transforms.commands.artefacts import DecodedMedia
from sim_transforms.commands.whereabouts import catalog_entries
from sim_transforms.errors import MediaError
from sim_transforms.features.log_mel import log_mel
from sim_transforms.media.decode import decode_media, most_bytes
from sim_transforms.media.fetch_ahead import read_anywhere
from sim_transforms.media.image import decode_image
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles
from sim_transforms.records.clips import clip_id, sound_of
from sim_transforms.records.items import MediaRef
from sim_transforms.records.media import MediaShape, SoundShape
from sim_transforms.report.media_page import LONGEST_SIDE
from sim_transforms.report.page import picture_png

Array = np.ndarray[Any, Any]


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
        ids: of the items; of sounds those of clips, sounds or both.
        shape: of decoded media; the sides of the thumbnails stand as its sides do.
        source: the catalog.
        allow_outside: whether its uris may leave its folder.
        examples: folder that may hold decoded media.
        files: where a catalog and media with a scheme lie.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    wanted = {*ids, *(sound_of(item_id) for item_id in ids)} if shape.sound else set(ids)
    pictures: dict[str, bytes] = {}
    for entry in catalog_entries(source, allow_outside, files):
        if isinstance(entry, MediaRef) and entry.item_id in wanted:
            with contextlib.suppress(MediaError):
                pictures |= _of_file(entry, shape, ids, files)
    return {**prepared_pictures([i for i in ids if i not in pictures], examples), **pictures}


def _of_file(entry: MediaRef, shape: MediaShape, ids: Collection[str], files: RemoteFiles) -> dict[str, bytes]:
    """Of a picture, or of those of a sound and its clips that are wanted; raises MediaError."""
    data = read_anywhere(entry.uri, files, most_bytes(shape.kind))
    if shape.sound is None:
        return {entry.item_id: picture_png(decode_image(data, _small(shape)))}
    parts = decode_media(data, shape).parts
    named = [(entry.item_id, parts[0]), *((clip_id(entry.item_id, part.start), part) for part in parts)]
    return {name: media_png(np.frombuffer(part.media, "<i2"), shape) for name, part in named if name in ids}


def media_png(decoded: Array, shape: MediaShape) -> bytes:
    """PNG of decoded media: [height, width, channels] uint8 pixels, or the spectrum of [samples] int16."""
    return picture_png(media_pixels(decoded, shape))


def media_pixels(decoded: Array, shape: MediaShape) -> Array:
    """The same as [height, width, 1 or 3] uint8."""
    return decoded if shape.sound is None else _spectrum(decoded, shape.sound)


def _spectrum(samples: Array, sound: SoundShape) -> Array:
    """[height, width, 1] uint8: time from left to right, loud is bright."""
    decibels = log_mel(samples[None], sound).numpy()[0].T[::-1]
    grey = np.rint((decibels / sound.top_db + 1.0) * 255.0).astype(np.uint8)
    sides = min(LONGEST_SIDE, grey.shape[1]), min(LONGEST_SIDE, grey.shape[0])
    return np.asarray(Image.fromarray(grey).resize(sides, Image.Resampling.BILINEAR))[:, :, None]


def _small(shape: MediaShape) -> MediaShape:
    height, width, channels = shape.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    sides = max(1, round(height * scale)), max(1, round(width * scale))
    return replace(shape, shape=(*sides, channels))


def prepared_pictures(ids: Sequence[str], examples: Path) -> dict[str, bytes]:
    """PNG of each item that was preprocessed, as preprocessing left it; of sounds that of their first clip.

    Args:
        ids: of items, of clips or of sounds.
        examples: folder of decoded media; nothing where there are none.
    """
    if not ids or not (examples / "manifest.json").is_file():
        return {}
    media = DecodedMedia(examples)
    shape = media.manifest.media
    shown = {item_id: item_id for item_id in ids if item_id in media}
    if shape.sound is not None:
        shown = {sound_of(clip): clip for clip in reversed(media.item_ids) if sound_of(clip) in ids} | shown
    return {item_id: media_png(media.pixels([clip])[0], shape) for item_id, clip in shown.items()}
