"""`ruiji evaluate`: does the model bring items of one class together, on classes it knows and on classes it never saw?

Protocol of the design page: the gallery is the train items of all labels, the queries are the test items; raw pixels,
or the plain spectra of sounds, are measured on the same items in the same run. Exact search, so that no error of an
index mixes in. Of sounds, clips are the items, and no clip of a query's own sound is in the gallery.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems, load_embeddings
from sim_transforms.errors import DamagedArtefact, ModelMismatch
from sim_transforms.features.log_mel import log_mel
from sim_transforms.quality.classes import class_scores
from sim_transforms.quality.clusters import cluster_scores
from sim_transforms.quality.intervals import wilson_interval
from sim_transforms.quality.open_set import open_set
from sim_transforms.quality.retrieval import METRICS, RetrievalScores, retrieval_scores
from sim_transforms.quality.sample import rank
from sim_transforms.records.clips import sound_of
from sim_transforms.records.codec import canonical_json, to_plain
from sim_transforms.records.manifests import EmbeddingsManifest, ModelManifest
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]

# Raw media are read again, and pixels are held in memory; above this they are not compared.
RAW_BYTES = 2**30
# Classes that the answer names, those of the lowest scores; the file beside it names all.
WORST_CLASSES = 100
CLASSES_FILE = "classes.parquet"
# All pairs of so many items are compared, and so many queries are asked without their class: more would not move the
# figures.
_SAMPLE = 5_000
_BLOCK = 64
_COUNTS = ("queries", "queries_without_relevant", "items", "classes")


def evaluate(examples: Path, embeddings: Path, model: Path, *, space: str) -> tuple[dict[str, Any], pa.Table]:
    """Retrieval metrics of test items among train items.

    Returns:
        The answer, and a table of all classes (`quality.classes`).

        {"model": fingerprint, "known": metrics, "unseen": metrics, "raw": {"known": metrics, "unseen": metrics},
        "raw_kind": text, "intervals": {"known": {metric: [low, high]}, "unseen": ...}, "classes": rows of the classes
        of the lowest scores, "clusters": {"known": scores, "unseen": scores}, "open_set": {"known": scores, "unseen":
        scores}, "calibration": of the model or null}; a group without test items is empty, metrics are null where no
        test item has its class in the gallery, and "raw" is null above 1 GiB of decoded media. `raw_kind` says what is
        compared there: "pixels", or the mean "spectrum" of each clip.

    Raises:
        ModelMismatch: the embeddings are another model's.
    """
    manifest, made = ModelManifest.load(model), EmbeddingsManifest.load(embeddings)
    if made.model != manifest.fingerprint:
        raise ModelMismatch(
            f"{embeddings} was made by model {made.model[:16] or 'none'}, but {model} is {manifest.fingerprint[:16]}: "
            "embed the examples with this model first"
        )
    items = load_embeddings(embeddings)
    media = DecodedMedia(examples)
    queries, gallery = draw_items(items, clips=media.manifest.media.sound is not None)
    groups = by_knowledge(items, queries, manifest.train_labels)
    found = {name: _scores(items, items.vectors, rows, gallery, space) for name, rows in groups.items()}
    table = class_scores(*_labelled(items, groups, found), items.labels[gallery], manifest.train_labels)
    means = _means(found)
    result: dict[str, Any] = {"model": manifest.fingerprint, **{name: _plain(each) for name, each in means.items()}}
    result["intervals"] = {name: _intervals(each) for name, each in means.items()}
    result["classes"] = table.slice(0, WORST_CLASSES).to_pylist()
    result["clusters"] = {name: _clusters(items, rows) for name, rows in groups.items()}
    result["open_set"] = _open_set(items, groups, gallery, manifest)
    result["calibration"] = to_plain(manifest.calibration) if manifest.calibration else None
    return {**result, **_raw(items, media, groups, gallery)}, table


def _raw(items: EmbeddedItems, media: DecodedMedia, groups: dict[str, Array], gallery: Array) -> dict[str, Any]:
    """`raw` and `raw_kind`."""
    shape, item_ids = media.manifest.media, items.item_ids.tolist()
    kind = {"raw_kind": "pixels" if shape.sound is None else "spectrum"}
    if not any(len(rows) for rows in groups.values()):
        return {**kind, "raw": {name: {} for name in groups}}
    if len(item_ids) * int(np.prod(shape.shape)) * (4 if shape.sound is None else 2) > RAW_BYTES:
        return {**kind, "raw": None}
    raw = mean_spectra(media, item_ids) if shape.sound else _pixels(media, item_ids)
    found = {name: _scores(items, raw, rows, gallery, "l2") for name, rows in groups.items()}
    return {**kind, "raw": {name: _plain(each) for name, each in _means(found).items()}}


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


def by_knowledge(items: EmbeddedItems, queries: Array, known: Sequence[str]) -> dict[str, Array]:
    """Rows of the queries of classes that were trained on, `known`, and of the others, `unseen`."""
    is_known = np.isin(items.labels[queries], known)
    return {"known": queries[is_known], "unseen": queries[~is_known]}


def _scores(items: EmbeddedItems, vectors: Array, queries: Array, gallery: Array, space: str) -> RetrievalScores | None:
    if not len(queries) or not len(gallery):
        return None
    asked, offered = items.labels[queries].tolist(), items.labels[gallery].tolist()
    return retrieval_scores(vectors[queries], asked, vectors[gallery], offered, space)


def _means(found: dict[str, RetrievalScores | None]) -> dict[str, dict[str, float]]:
    return {name: scores.means() if scores is not None else {} for name, scores in found.items()}


def _intervals(means: dict[str, float]) -> dict[str, list[float]]:
    names = METRICS if means and means["queries"] else ()
    return {name: [round(end, 6) for end in wilson_interval(means[name], int(means["queries"]))] for name in names}


def _labelled(
    items: EmbeddedItems, groups: dict[str, Array], found: dict[str, RetrievalScores | None]
) -> tuple[Array, dict[str, Array]]:
    """Labels of all queries that were scored, and their scores."""
    parts = [(items.labels[groups[name][s.rows]], s.scores) for name, s in found.items() if s is not None]
    labels = np.concatenate([np.zeros(0, dtype=str), *(labels for labels, _ in parts)])
    return labels, {name: np.concatenate([np.zeros(0), *(scores[name] for _, scores in parts)]) for name in METRICS}


def _clusters(items: EmbeddedItems, rows: Array) -> dict[str, float]:
    drawn = _sampled(items, rows)
    return _plain(cluster_scores(items.vectors[drawn], items.labels[drawn].tolist()) or {})


def _open_set(
    items: EmbeddedItems, groups: dict[str, Array], gallery: Array, model: ModelManifest
) -> dict[str, dict[str, float]]:
    """Known and unseen classes apart, asked together."""
    drawn = {name: _sampled(items, rows) for name, rows in groups.items()}
    rows = np.concatenate(list(drawn.values()))
    asked, offered = items.labels[rows].tolist(), items.labels[gallery].tolist()
    answers = open_set(items.vectors[rows], asked, items.vectors[gallery], offered, model.space)
    limit = model.calibration.max_distance if model.calibration else None
    found = {
        name: answers.part(np.flatnonzero(np.isin(rows, of_group))).scores(limit) for name, of_group in drawn.items()
    }
    return {name: _plain(scores) if scores["queries"] else {} for name, scores in found.items()}


def _sampled(items: EmbeddedItems, rows: Array) -> Array:
    """Some of the rows, by hash, in their order."""
    if len(rows) <= _SAMPLE:
        return rows
    ranks = [rank(item_id, 0) for item_id in items.item_ids[rows].tolist()]
    return np.asarray(rows[np.sort(np.argsort(ranks, kind="stable")[:_SAMPLE])])


def _plain(values: dict[str, float]) -> dict[str, Any]:
    """Counts as whole numbers, and shares of no queries at all as null."""
    empty = values.get("queries") == 0
    shares = {name: None if empty else round(float(value), 6) for name, value in values.items()}
    return shares | {name: int(values[name]) for name in _COUNTS if name in values}


def load_evaluation(folder: Path, model: str) -> dict[str, Any] | None:
    """What `write_evaluation` left in a folder; null without one, or of another model than the fingerprint."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedArtefact(f"{path}: no JSON: {error}; run `ruiji evaluate` again") from error
    return found if found.get("model") == model else None


def write_evaluation(result: dict[str, Any], classes: pa.Table, folder: Path) -> None:
    """Writes evaluation.json, the table of all classes, and the manifest of their folder."""
    write_file(folder / "evaluation.json", canonical_json(result).encode())
    pq.write_table(classes, folder / CLASSES_FILE)
    entries = [file_entry(folder, name) for name in ("evaluation.json", CLASSES_FILE)]
    write_file(folder / "manifest.json", canonical_json({"kind": "evaluation", "files": entries}).encode())
