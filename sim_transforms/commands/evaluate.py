"""`ruiji evaluate`: does the model bring items of one class together, on classes it knows and on classes it never saw?

Protocol of the design page: the gallery is the train items of all labels, the queries are the test items; raw pixels,
or the plain spectra of sounds, are measured on the same items in the same run. Exact search, so that no error of an
index mixes in. Of sounds, clips are the items, and no clip of a query's own sound is in the gallery.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems, load_embeddings
from sim_transforms.features.log_mel import log_mel
from sim_transforms.quality.retrieval import retrieval_metrics
from sim_transforms.records.clips import sound_of
from sim_transforms.records.codec import canonical_json
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]

# Raw media are read again, and pixels are held in memory; above this they are not compared.
RAW_BYTES = 2**30
_BLOCK = 64


def evaluate(examples: Path, embeddings: Path, model: Path, *, space: str) -> dict[str, Any]:
    """Retrieval metrics of test items among train items.

    Returns:
        {"known": metrics, "unseen": metrics, "raw": {"known": metrics, "unseen": metrics}, "raw_kind": text}; a group
        without test items is empty, and "raw" is null above 1 GiB of decoded media. `raw_kind` says what is compared
        there: "pixels", or the mean "spectrum" of each clip.
    """
    items = load_embeddings(embeddings)
    known = ModelManifest.load(model).train_labels
    media = DecodedMedia(examples)
    shape, count = media.manifest.media, len(items.item_ids)
    queries, gallery = draw_items(items, clips=shape.sound is not None)
    result: dict[str, Any] = _by_class(items, items.vectors, (queries, gallery, known), space)
    result["raw_kind"] = "pixels" if shape.sound is None else "spectrum"
    if not len(queries):
        return {**result, "raw": {"known": {}, "unseen": {}}}
    if count * int(np.prod(shape.shape)) * (4 if shape.sound is None else 2) > RAW_BYTES:
        return {**result, "raw": None}
    raw = mean_spectra(media, items.item_ids.tolist()) if shape.sound else _pixels(media, items.item_ids.tolist())
    return {**result, "raw": _by_class(items, raw, (queries, gallery, known), "l2")}


def draw_items(items: EmbeddedItems, clips: bool) -> tuple[Array, Array]:
    """Rows of the queries and of the gallery, in which no clip is of a query's sound, whatever the catalog's split."""
    labelled = items.labels != ""
    gallery = np.flatnonzero((items.splits == "train") & labelled)
    queries = np.flatnonzero((items.splits == "test") & labelled)
    if clips:
        sounds = np.array([sound_of(item_id) for item_id in items.item_ids.tolist()], dtype=str)
        gallery = gallery[~np.isin(sounds[gallery], sounds[queries])]
    return queries, gallery


def _pixels(media: DecodedMedia, item_ids: list[str]) -> Array:
    """[n, values] float32."""
    return media.pixels(item_ids).reshape(len(item_ids), -1).astype(np.float32)


def mean_spectra(media: DecodedMedia, item_ids: list[str]) -> Array:
    """[n, mel bands] float32: the mean over time of each clip's log-mel spectra, decibels below its loudest value."""
    sound = media.manifest.media.sound
    assert sound is not None
    blocks = [item_ids[start : start + _BLOCK] for start in range(0, len(item_ids), _BLOCK)]
    means = [log_mel(media.pixels(block), sound).numpy().mean(axis=1) for block in blocks]
    return np.concatenate([np.zeros((0, sound.mel_bands), np.float32), *means])


def _by_class(
    items: EmbeddedItems, vectors: Array, drawn: tuple[Array, Array, tuple[str, ...]], space: str
) -> dict[str, Any]:
    queries, gallery, known = drawn
    groups = by_knowledge(items, queries, known)
    return {name: _metrics(items, vectors, rows, gallery, space) for name, rows in groups.items()}


def by_knowledge(items: EmbeddedItems, queries: Array, known: Sequence[str]) -> dict[str, Array]:
    """Rows of the queries of classes that were trained on, `known`, and of the others, `unseen`."""
    is_known = np.isin(items.labels[queries], known)
    return {"known": queries[is_known], "unseen": queries[~is_known]}


def _metrics(items: EmbeddedItems, vectors: Array, queries: Array, gallery: Array, space: str) -> dict[str, float]:
    if not len(queries) or not len(gallery):
        return {}
    metrics = retrieval_metrics(
        vectors[queries], items.labels[queries].tolist(), vectors[gallery], items.labels[gallery].tolist(), space
    )
    return {name: round(float(value), 6) for name, value in metrics.items()}


def write_evaluation(result: dict[str, Any], folder: Path) -> None:
    """Writes evaluation.json and the manifest of its folder."""
    write_file(folder / "evaluation.json", canonical_json(result).encode())
    entry = file_entry(folder, "evaluation.json")
    write_file(folder / "manifest.json", canonical_json({"kind": "evaluation", "files": [entry]}).encode())
