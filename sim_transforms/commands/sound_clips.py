"""Where the clips of a sound stand: published, or skipped because they are silent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from sim_transforms.commands.whereabouts import IndexedRow
from sim_transforms.records.clips import clip_id, start_of
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.records.media import Clips, MediaShape

# Clips whose starts differ by less are one: starts are told in milliseconds.
_SAME_SECONDS = 0.0025


@dataclass(frozen=True)
class ClipPlace:
    """A clip of a sound.

    Attributes:
        start: seconds of the sound at which it begins.
        row: in LATEST; null where it was skipped because it is silent.
    """

    item_id: str
    start: float
    row: int | None


def prepared_shape(examples: Path) -> MediaShape | None:
    """What the sounds of `examples/` were decoded to; null where there are none, or pictures."""
    if not (examples / "manifest.json").is_file():
        return None
    shape = ExamplesManifest.load(examples).media
    return shape if shape.sound is not None else None


def clip_places(
    sound: str, rows: Sequence[IndexedRow], clips: Clips, digest: str | None, examples: Path | None
) -> tuple[ClipPlace, ...]:
    """The clips of a sound, by start: those that are published, and those that were left out between and after them.

    Args:
        sound: its id.
        rows: of its clips in LATEST, at least one.
        clips: how they lie in their sounds.
        digest: of the sound's file.
        examples: folder that may know how long the sound is; where it does not, or knows the file that was before,
            what was left out at its end stays unknown.
    """
    found = {start: row for row in rows if (start := start_of(row.item_id)) is not None}
    published = [ClipPlace(row.item_id, start, row.row) for start, row in found.items()]
    prepared = prepared_starts(sound, digest, examples) if examples is not None else None
    expected = prepared or _starts_before(max(found, default=0.0), clips)
    silent = [ClipPlace(clip_id(sound, start), start, None) for start in expected if not _is_among(start, found)]
    return tuple(sorted([*published, *silent], key=_by_start))


def _by_start(place: ClipPlace) -> float:
    return place.start


def _starts_before(last: float, clips: Clips) -> list[float]:
    count = int((last + _SAME_SECONDS) / clips.hop_seconds)
    return [round(number * clips.hop_seconds, 3) for number in range(count + 1)]


def prepared_starts(sound: str, digest: str | None, examples: Path) -> list[float] | None:
    """Where the clips of a sound begin that preprocessing has cut, silent ones too; null where it cut no such file."""
    shape, path = prepared_shape(examples), examples / "media.parquet"
    if shape is None or shape.sound is None or not path.is_file():
        return None
    known = pq.read_table(path, columns=["seconds", "digest"], filters=[("item_id", "=", sound)], partitioning=None)
    if not known.num_rows or known.column("digest")[0].as_py() != digest:
        return None
    from sim_transforms.media.sound import clip_starts

    rate = shape.sound.sample_rate
    starts = clip_starts(round(known.column("seconds")[0].as_py() * rate), shape)
    return [round(start / rate, 3) for start in starts]


def _is_among(start: float, starts: Collection[float]) -> bool:
    return any(abs(start - other) < _SAME_SECONDS for other in starts)
