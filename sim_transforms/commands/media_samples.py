"""Pictures and waveforms of items for pages: accepted ones from `examples/`, rejected ones by the guarded decoder."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sim_transforms.commands.artefacts import read_example
from sim_transforms.commands.media_hashes import ExampleTable
from sim_transforms.errors import MediaError
from sim_transforms.media.guard import Bounds, GuardedDecoder
from sim_transforms.records.items import FailedItem
from sim_transforms.records.media import MediaShape
from sim_transforms.report.media_data import Sample
from sim_transforms.report.media_page import AUDIBLE, LONGEST_SIDE
from sim_transforms.report.page import picture_png, thumbnail
from sim_transforms.report.waveform import draw_waveform, wav_bytes

Array = np.ndarray[Any, Any]

# What is refused by a limit of the configuration, not by the decoder, can be shown.
_RELAXABLE = frozenset({"too_large", "too_small", "too_long", "too_short", "silent"})
_PIXELS_MORE = 4


class Samples:
    """Makes samples; of sounds the first AUDIBLE different ones can be listened to."""

    def __init__(self, table: ExampleTable, bounds: Bounds) -> None:
        """Reads nothing yet."""
        self._table, self._bounds = table, bounds
        self._heard: set[str] = set()

    def item(self, row: int, *, of_file: bool = False, note: str = "") -> Sample:
        """An accepted item by its row.

        Args:
            row: in the table of items.
            of_file: it stands for its file, and has its id.
            note: what is told of it.

        Raises:
            DamagedArtefact: its record cannot be read.
        """
        table = self._table
        item_id, label, split, shard, offset, length = (column[row].as_py() for column in table.items.columns)
        record = read_example(table.folder, table.manifest, shard, offset, length)
        shown = table.files.column("item_id")[int(table.file_of[row])].as_py() if of_file else item_id
        return self._sample(Sample(shown, label, split, note=note), record.media, table.manifest.media)

    def rejected(self, failed: Sequence[FailedItem]) -> list[Sample]:
        """Rejected files with what is told of them; shown where decoding them under wider limits works.

        Nothing of a file is decoded in this process.
        """
        shape = _relaxed(self._table.manifest.media)
        shown = [f for f in failed if f.reason in _RELAXABLE]
        pictures: dict[str, Sample] = {}
        with GuardedDecoder(shape, self._bounds) as decoder:
            for item, found in zip(shown, decoder.decode([f.uri for f in shown]), strict=True):
                if not isinstance(found, MediaError):
                    media = found.content.parts[0].media
                    pictures[item.item_id] = self._sample(Sample(item.item_id, note=_told(item)), media, shape)
        return [pictures.get(f.item_id) or Sample(f.item_id, note=_told(f)) for f in failed]

    def _sample(self, known: Sample, media: bytes, shape: MediaShape) -> Sample:
        values = np.frombuffer(media, shape.dtype).reshape(shape.shape)
        if shape.sound is None:
            return replace(known, png=picture_png(thumbnail(values, LONGEST_SIDE)))
        rate = shape.sound.sample_rate
        heard = known.item_id not in self._heard and len(self._heard) < AUDIBLE
        if heard:
            self._heard.add(known.item_id)
        return replace(known, wave=draw_waveform(values, rate), wav=wav_bytes(values, rate) if heard else None)


def _told(item: FailedItem) -> str:
    """The message without the folder that the file lies in: the page is the same wherever the catalog is."""
    folder = os.path.dirname(item.uri)
    return item.message.replace(item.uri, os.path.basename(item.uri)).replace(folder, "") if folder else item.message


def _relaxed(shape: MediaShape) -> MediaShape:
    """What rejected files are shown as, under wider limits."""
    if shape.sound is None:
        small = (LONGEST_SIDE, LONGEST_SIDE, shape.shape[2])
        most = _PIXELS_MORE * shape.max_pixels
        return replace(shape, shape=small, resize="fit", max_pixels=most, min_side=1, max_aspect=None)
    sound = replace(shape.sound, min_seconds=0.0, silence_db=None, max_seconds=_PIXELS_MORE * shape.sound.max_seconds)
    return replace(shape, sound=sound)
