"""`ruiji evaluate`: does the model bring items of one class together, on classes it knows and on classes it never saw?

Protocol of the design page: the gallery is the train items of all labels, the queries are the test items; raw pixels
are measured on the same items in the same run. Exact search, so that no error of an index mixes in.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems, load_embeddings
from sim_transforms.quality.retrieval import retrieval_metrics
from sim_transforms.records.codec import canonical_json
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]

# Raw media are held in memory; above this they are not compared.
RAW_BYTES = 2**30


def evaluate(examples: Path, embeddings: Path, model: Path, *, space: str) -> dict[str, Any]:
    """Retrieval metrics of test items among train items.

    Returns:
        {"known": metrics, "unseen": metrics, "raw": {"known": metrics, "unseen": metrics}}; a group without test items
        is empty, and "raw" is null above 1 GiB of decoded media.
    """
    items = load_embeddings(embeddings)
    known = ModelManifest.load(model).train_labels
    result: dict[str, Any] = _by_class(items, items.vectors, known, space)
    media = DecodedMedia(examples)
    if len(items.item_ids) * int(np.prod(media.manifest.media.shape)) * 4 > RAW_BYTES:
        return {**result, "raw": None}
    raw = media.pixels(items.item_ids.tolist()).reshape(len(items.item_ids), -1).astype(np.float32)
    return {**result, "raw": _by_class(items, raw, known, "l2")}


def _by_class(items: EmbeddedItems, vectors: Array, known: tuple[str, ...], space: str) -> dict[str, Any]:
    labelled = items.labels != ""
    gallery = np.flatnonzero((items.splits == "train") & labelled)
    queries = np.flatnonzero((items.splits == "test") & labelled)
    is_known = np.isin(items.labels, known)
    groups = {"known": queries[is_known[queries]], "unseen": queries[~is_known[queries]]}
    return {name: _metrics(items, vectors, rows, gallery, space) for name, rows in groups.items()}


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
