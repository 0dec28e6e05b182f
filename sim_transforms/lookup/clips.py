"""Sounds found by their clips: what many clips answer, put together as sounds and places in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim_transforms.lookup.open import Match, OpenVersion
from sim_transforms.records.clips import SOURCE_ID, START, sound_of

Array = np.ndarray[Any, Any]

# Clips of one sound lie close together, so that many clips may be few sounds.
_FIRST, _MOST = 64, 4096
_ITEM_CLIPS = 16


@dataclass(frozen=True)
class SoundMatch:
    """A sound.

    Attributes:
        item_id: of the catalog.
        distance: mean over the clips of the query, each to the clip that stands where it should.
        metadata: of the sound.
        offset: seconds of the sound at which the query begins.
        clip: id of the nearest clip.
    """

    item_id: str
    distance: float
    metadata: dict[str, Any]
    offset: float
    clip: str


@dataclass(frozen=True)
class _Hit:
    """A clip that was found by clip `query`, which says that the query begins at `offset`."""

    query: int
    offset: float
    match: Match


def search_clips(
    opened: OpenVersion,
    vectors: Array,
    starts: Sequence[float],
    k: int,
    exclude: str | None = None,
    where: str | None = None,
) -> list[SoundMatch]:
    """The k sounds nearest to a query of one or more clips, nearest first.

    The clips that a sound answers with must agree on where the query begins in it, to half a clip's hop; a clip of the
    query that the sound does not answer counts as far as the farthest one that was found.

    Args:
        opened: a version of clips.
        vectors: [q, dim] float32 of the query's clips.
        starts: seconds of the query at which each begins.
        k: sounds.
        exclude: sound that is left out.
        where: condition on the sounds' metadata, and their clips'.
    """
    assert opened.manifest.clips is not None
    wanted = k + (exclude is not None)
    width = min(max(_FIRST, 8 * k), max(1, opened.manifest.items))
    while True:
        found = opened.search(vectors, width, where=where)
        sounds = {match.metadata[SOURCE_ID] for matches in found for match in matches}
        if len(sounds) >= wanted or width >= min(_MOST, opened.manifest.items):
            break
        width = min(4 * width, _MOST, opened.manifest.items)
    hits: dict[str, list[_Hit]] = {}
    for query, matches in enumerate(found):
        for match in matches:
            offset = float(match.metadata[START]) - starts[query]
            hits.setdefault(match.metadata[SOURCE_ID], []).append(_Hit(query, offset, match))
    farthest = np.array([matches[-1].distance if matches else np.inf for matches in found])
    tolerance = opened.manifest.clips.hop_seconds / 2
    ranked = [_aligned(source, of, farthest, tolerance) for source, of in hits.items() if source != exclude]
    return sorted(ranked, key=lambda m: (m.distance, m.item_id))[:k]


def _aligned(source: str, hits: list[_Hit], farthest: Array, tolerance: float) -> SoundMatch:
    """The place in a sound that answers best."""
    offsets = np.array([hit.offset for hit in hits])
    queries = np.array([hit.query for hit in hits])
    distances = np.array([hit.match.distance for hit in hits])
    best, score = 0, np.inf
    for place in np.argsort(distances, kind="stable"):
        near = np.abs(offsets - offsets[place]) <= tolerance + 1e-6
        least = farthest.copy()
        np.minimum.at(least, queries[near], distances[near])
        if least.mean() < score:
            best, score = int(place), float(least.mean())
        if len(farthest) == 1:
            break
    match = hits[best].match
    metadata = {name: value for name, value in match.metadata.items() if name not in (SOURCE_ID, START)}
    return SoundMatch(source, score, metadata, round(hits[best].offset, 3), match.item_id)


def nearest_others(opened: OpenVersion, vectors: Array, item_ids: Sequence[str], k: int) -> list[list[Match]]:
    """Of each of some items the k nearest, itself left out; of clips the nearest clip each of k other sounds.

    Args:
        opened: the version.
        vectors: [n, dim] of the items.
        item_ids: n ids.
        k: items, or sounds.
    """
    if opened.manifest.clips is not None:
        return sounds_near(opened, vectors, [sound_of(item_id) for item_id in item_ids], k)
    answers = opened.search(vectors, k + 1)
    return [
        [match for match in matches if match.item_id != item_id][:k]
        for item_id, matches in zip(item_ids, answers, strict=True)
    ]


def sounds_near(opened: OpenVersion, vectors: Array, sounds: Sequence[str], k: int) -> list[list[Match]]:
    """Of each of some clips the k nearest other sounds, each by its nearest clip; fewer where few sounds are near.

    Args:
        opened: a version of clips.
        vectors: [q, dim] float32 of the clips.
        sounds: that each is of, which is left out.
        k: sounds.
    """
    found = []
    for own, matches in zip(sounds, opened.search(vectors, max(_FIRST, 8 * k)), strict=True):
        nearest: dict[str, Match] = {}
        for match in matches:
            nearest.setdefault(match.metadata[SOURCE_ID], match)
        nearest.pop(own, None)
        found.append(list(nearest.values())[:k])
    return found


def search_sound_item(opened: OpenVersion, item_id: str, k: int, where: str | None = None) -> list[SoundMatch]:
    """The nearest sounds of an indexed clip, or of a sound by up to 16 of its clips; its own sound is left out.

    Raises:
        NotFound: no such clip or sound.
    """
    clips = sorted((record[START], record["row"]) for record in opened.records_where(SOURCE_ID, item_id))
    if not clips:
        vector = opened.vector_of(item_id)
        return search_clips(opened, vector[None], [0.0], k, sound_of(item_id), where)
    chosen = np.unique(np.linspace(0, len(clips) - 1, _ITEM_CLIPS).round().astype(int))
    starts, rows = zip(*(clips[place] for place in chosen), strict=True)
    vectors = np.stack([opened.vector_at(row) for row in rows])
    return search_clips(opened, vectors, starts, k, item_id, where)
