"""Requests -> answers of one opened version."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sim_transforms.errors import UsageError
from sim_transforms.lookup.clips import SoundMatch, search_clips, search_sound_item
from sim_transforms.lookup.open import Match, OpenVersion
from sim_transforms.records.clips import SOURCE_ID
from sim_transforms.service.answers import Asked, Query, SearchRequest
from sim_transforms.settings.serving import ServeSettings

Array = np.ndarray[Any, Any]


def check_limits(asked: SearchRequest, settings: ServeSettings) -> None:
    """Raises UsageError for more queries or neighbours than are answered."""
    if len(asked.queries) > settings.max_batch:
        raise UsageError(f"{len(asked.queries)} queries; at most {settings.max_batch} are answered (serve.max_batch)")
    check_k(asked.k, settings)


def check_k(k: int, settings: ServeSettings) -> None:
    """Raises UsageError for more neighbours than are answered."""
    if k > settings.max_k:
        raise UsageError(f"k {k}; at most {settings.max_k} neighbours are answered (serve.max_k)")


def search(opened: OpenVersion, asked: SearchRequest) -> dict[str, Any]:
    """Answers all queries of a request, as `SearchAnswer`.

    Raises:
        NotFound: an item is not there.
        UsageError: a vector of another dimension, or no condition.
    """
    if opened.manifest.clips is not None:
        found: list[Any] = [_of_clips(opened, query, asked) for query in asked.queries]
    else:
        found = _of_items(opened, asked)
    return answer(opened, found)


def search_parts(opened: OpenVersion, vectors: Array, starts: Sequence[float], asked: Asked) -> dict[str, Any]:
    """The same for the embedded parts of one media file: [p, dim], and where each begins."""
    if opened.manifest.clips is not None:
        return answer(opened, [search_clips(opened, vectors, starts, asked.k, where=asked.where)])
    return answer(opened, opened.search(vectors[:1], asked.k, asked.ef_search, asked.where))


def neighbors(opened: OpenVersion, item_id: str, k: int, where: str | None) -> dict[str, Any]:
    """The nearest of an indexed item; raises NotFound, UsageError."""
    return search(opened, SearchRequest(queries=[Query(item_id=item_id)], k=k, where=where))


def answer(opened: OpenVersion, found: Sequence[Sequence[Match] | Sequence[SoundMatch]]) -> dict[str, Any]:
    """Matches of each query, as `SearchAnswer`; orjson writes them as they are; `asdict` of 320 took 3 ms."""
    results = [{"matches": matches, "no_match": opened.no_match(matches)} for matches in found]
    return {"version": opened.version, "results": results}


def item(opened: OpenVersion, item_id: str) -> dict[str, Any]:
    """An item, or a sound by its first clip, as `ItemAnswer`; raises NotFound."""
    clips = opened.records_where(SOURCE_ID, item_id) if opened.manifest.clips is not None else []
    found = opened.item(clips[0]["item_id"] if clips else item_id)
    return {"version": opened.version, "item_id": item_id, "metadata": found["metadata"]}


def items(opened: OpenVersion, where: str | None, offset: int, limit: int) -> dict[str, Any]:
    """Some items, as `ItemsAnswer`; raises UsageError for what is no condition."""
    rows = opened.live_rows() if where is None else opened.rows_that(where)
    shown = opened.described(rows[offset : offset + limit])
    return {"version": opened.version, "total": len(rows), "items": shown}


def _of_items(opened: OpenVersion, asked: SearchRequest) -> list[list[Match]]:
    """Of all queries at once: an item's own is sought among one more, and left out."""
    own = any(query.item_id is not None for query in asked.queries)
    vectors = np.stack([_vector(opened, query) for query in asked.queries])
    found = opened.search(vectors, asked.k + own, asked.ef_search, asked.where)
    return [
        [match for match in matches if match.item_id != query.item_id][: asked.k]
        for matches, query in zip(found, asked.queries, strict=True)
    ]


def _vector(opened: OpenVersion, query: Query) -> Array:
    if query.item_id is not None:
        return opened.vector_of(query.item_id)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        vector = np.asarray(query.vector, np.float64).astype(np.float32)
    if len(vector) != opened.manifest.dimension:
        raise UsageError(f"a vector of {len(vector)} numbers; {opened.manifest.dimension} are expected")
    return vector


def _of_clips(opened: OpenVersion, query: Query, asked: SearchRequest) -> list[SoundMatch]:
    if query.item_id is not None:
        return search_sound_item(opened, query.item_id, asked.k, asked.where)
    return search_clips(opened, _vector(opened, query)[None], [0.0], asked.k, where=asked.where)
