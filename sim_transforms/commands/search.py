"""`ruiji search`: the nearest items of a media file, an indexed item or a vector."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.errors import MediaError, ModelMismatch, UsageError
from sim_transforms.lookup.clips import SoundMatch, search_clips, search_sound_item
from sim_transforms.lookup.open import Match, OpenVersion, open_version
from sim_transforms.media.remote import LOCAL_ONLY, RemoteFiles
from sim_transforms.storage.cache import VersionCache

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Source:
    """What is searched, and how it is opened.

    Attributes:
        store_url: of the published versions.
        version: id; LATEST where not given.
        probe: shards to search of a routed version; as many as the version says where not given.
        memory_budget_mib: MiB of its shard files that are open at once, or null for no limit.
        cache: folder for the files of a remote store; in the user's cache folder where not given.
    """

    store_url: str
    version: str | None = None
    probe: int | None = None
    memory_budget_mib: int | None = None
    cache: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is sought: near exactly one of `item`, `vector` and `media`.

    Attributes:
        item: of the index.
        vector: .npy file of [dim] or [1, dim].
        media: path or uri.
        k: neighbours.
        where: condition on their metadata, or null.
    """

    item: str | None = None
    vector: Path | None = None
    media: str | None = None
    k: int = 10
    where: str | None = None


def search(source: Source, query: Query, model: Path | None = None, files: RemoteFiles = LOCAL_ONLY) -> dict[str, Any]:
    """Answers one query.

    Args:
        source: the version to search.
        query: what is sought.
        model: folder of the model that embeds media.
        files: where media with a scheme lie.

    Returns:
        {"version", "matches": [{"item_id", "distance", "metadata"}], "no_match", "routed"}; of an index of clips a
        match is a sound, and says too at which `offset` of it the query begins, and which `clip` is nearest.

    Raises:
        UsageError: none or several queries, a file that cannot be used, no condition, k, probe or budget too small.
        NotFound: no such item, version or model.
        ModelMismatch: the model is not the one that the version was made with.
    """
    if sum(given is not None for given in (query.item, query.vector, query.media)) != 1:
        raise UsageError("exactly one of --media FILE, --item ID and --vector FILE.npy is expected")
    if query.k < 1:
        raise UsageError(f"--k: found {query.k}; at least 1 is expected")
    opened = open_source(source)
    matches = _matches(opened, query, partial(embed_media, opened, query.media, model, files))
    return {
        "version": opened.version,
        "matches": [asdict(m) for m in matches],
        "no_match": opened.no_match(matches),
        "routed": opened.manifest.layout_is_routed,
    }


def open_source(source: Source) -> OpenVersion:
    """Opens the version.

    Raises:
        NotFound: no such version.
        DamagedArtefact: a file is not what was published.
    """
    cache = VersionCache(source.cache)
    return open_version(source.store_url, source.version, source.probe, source.memory_budget_mib, cache)


def _matches(
    opened: OpenVersion, query: Query, embed: Callable[[], tuple[Array, list[float]]]
) -> list[Match] | list[SoundMatch]:
    clips, k, where = opened.manifest.clips is not None, query.k, query.where
    if query.item is not None:
        if clips:
            return search_sound_item(opened, query.item, k, where)
        return opened.search_item(query.item, k, where=where)
    vectors, starts = (_read_vector(query.vector), [0.0]) if query.vector is not None else embed()
    if clips:
        return search_clips(opened, vectors, starts, k, where=where)
    return opened.search(vectors, k, where=where)[0]


def _read_vector(path: Path) -> Array:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"--vector {path}: no readable .npy file: {error}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim not in (1, 2):
        raise UsageError(f"--vector {path}: numbers of shape [dim] or [1, dim] are expected")
    values = values[None] if values.ndim == 1 else values
    if len(values) != 1:
        raise UsageError(f"--vector {path}: found {len(values)} vectors; one is expected")
    return values.astype(np.float32)


def embed_media(
    opened: OpenVersion, media: str | None, model: Path | None, files: RemoteFiles = LOCAL_ONLY
) -> tuple[Array, list[float]]:
    """Decodes and embeds one media file as the items were: [parts, dim] float32, and the start of each part."""
    assert media is not None
    if model is None:
        raise UsageError("--media needs the model: give --config FILE, or --model FOLDER")
    if not opened.manifest.model:
        raise UsageError("this version was made from vectors without a model: search it by --vector or --item")
    from sim_transforms.embedding.saved_model import SavedModelEmbedder
    from sim_transforms.media.decode import decode_media, most_bytes
    from sim_transforms.media.fetch_ahead import read_anywhere

    embedder = SavedModelEmbedder.load(str(model), None)
    if embedder.manifest.fingerprint != opened.manifest.model:
        raise ModelMismatch(
            f"version {opened.version} was made with model {opened.manifest.model[:16]}, but {model} is "
            f"{embedder.manifest.fingerprint[:16]}: give the model it was made with, or run `ruiji index` with this one"
        )
    try:
        shape = embedder.manifest.media
        decoded = decode_media(read_anywhere(media, files, most_bytes(shape.kind)), shape)
    except MediaError as error:
        raise UsageError(f"--media {media}: {error.reason}: {error.message}") from error
    starts = [part.start or 0.0 for part in decoded.parts]
    return embedder.embed([part.media for part in decoded.parts]), starts


def search_text(result: dict[str, Any]) -> str:
    """A line a neighbour."""
    lines = [f"version {result['version']}"]
    for match in result["matches"]:
        shown = "  ".join(f"{name}={value}" for name, value in match["metadata"].items() if value not in ("", None))
        place = f" at {match['offset']:.1f} s" if "offset" in match else ""
        lines.append(f"{match['distance']:10.6f}  {match['item_id']}{place}  {shown}")
    if result["no_match"]:
        farther = "the nearest item is farther than the calibrated threshold"
        lines.append(f"no match: {farther if result['matches'] else 'there is no other item'}")
    return "\n".join(lines)
