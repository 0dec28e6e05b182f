"""`ruiji report`: gathers what a page shows about a published version and writes it."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems, load_embeddings
from sim_transforms.commands.diff import compare
from sim_transforms.commands.evaluate import load_evaluation
from sim_transforms.commands.report_gallery import sections_of
from sim_transforms.commands.thumbnails import media_pixels, prepared_pictures
from sim_transforms.commands.version_vectors import ids_of, vectors_of_places
from sim_transforms.errors import DamagedArtefact, NotFound
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.quality.confusion import Confusion
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.quality.projection import project
from sim_transforms.quality.recall import recall_interval
from sim_transforms.quality.sample import rank
from sim_transforms.records.manifests import ModelManifest, VersionManifest
from sim_transforms.report.changes import VersionDiff
from sim_transforms.report.data import Changes, CurvePoint, Point, ReportData, Section
from sim_transforms.report.page import MEDIA_PAGE, picture_webp, thumbnail, write_report
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import load_manifest

Array = np.ndarray[Any, Any]

CURVE_QUERIES = 500
REPEATS = 5
CURVE_EF = (10, 16, 24, 40, 64, 100, 200)
# Items that the projection shows, and pixels of the longest side of their pictures.
PROJECTED, POINT_SIDE = 1500, 48
# Items in both versions whose neighbours are compared, and those that are shown.
CHANGED_QUERIES, CHANGED_ROWS = 300, 6
# Items of a version that is compared with the one before: both are held in memory.
MOST_COMPARED = 1_000_000


def report(
    store_url: str,
    output: Path,
    *,
    name: str,
    examples: Path | None,
    embeddings: Path | None,
    model: Path | None,
    evaluation: Path | None,
) -> Path:
    """Writes the page of the published version; gives the path of index.html.

    It names media.html where that lies in the folder.

    Args:
        store_url: of the published versions.
        output: folder of the page.
        name: of the catalog, shown as the title.
        examples, embeddings, model: the artefacts it was made from; without them the page shows no pictures.
        evaluation: folder that `ruiji evaluate` writes; shown where it is of the version's model.
    """
    version = open_version(store_url)
    whole = all(folder is not None and (folder / "manifest.json").is_file() for folder in (examples, embeddings, model))
    shown = _Shown()
    if whole and examples and embeddings and model:
        shown = _shown(version, examples, embeddings, ModelManifest.load(model).train_labels)
    manifest = version.manifest
    data = ReportData(
        name,
        version.version,
        manifest,
        evaluation=load_evaluation(evaluation, manifest.model) if evaluation and manifest.model else None,
        rejects=shown.rejects,
        items_in=shown.items_in,
        curve=shown.curve,
        sections=shown.sections,
        linked=(output / MEDIA_PAGE).is_file(),
        confusion=shown.confusion,
        points=shown.points,
        changes=_changes(store_url, version, examples if whole else None),
    )
    return write_report(data, output)


@dataclass(frozen=True)
class _Shown:
    """What a page shows where the artefacts are at hand that its version was made from."""

    sections: tuple[Section, ...] = ()
    confusion: Confusion | None = None
    curve: tuple[CurvePoint, ...] = ()
    points: tuple[Point, ...] = ()
    rejects: dict[str, int] = field(default_factory=dict)
    items_in: int | None = None


def _shown(version: OpenVersion, examples: Path, embeddings: Path, known: Sequence[str]) -> _Shown:
    items, media = _still_there(version, load_embeddings(embeddings)), DecodedMedia(examples)
    sections, confused = sections_of(version, items, media, known)
    found = _Shown(sections, confused, _curve(version, items), _points(version, items, media, known))
    if media.manifest.catalog_digest != version.manifest.catalog:
        return found
    return replace(found, rejects=_rejects(examples), items_in=media.manifest.ledger.items_in)


def _points(version: OpenVersion, items: EmbeddedItems, media: DecodedMedia, known: Sequence[str]) -> tuple[Point, ...]:
    """Some items in the plane, by hash of their ids."""
    ids = items.item_ids.tolist()
    rows = sorted(range(len(ids)), key=lambda row: (rank(ids[row], 0), ids[row]))[:PROJECTED]
    places = project(items.vectors[rows], version.manifest.space)
    if places is None:
        return ()
    points = []
    for row, (x, y) in zip(rows, places.tolist(), strict=True):
        label, picture = str(items.labels[row]), _point_picture(media, ids[row])
        points.append(Point(x, 1.0 - y, ids[row], label, picture, label in known if label else None))
    return tuple(points)


def _point_picture(media: DecodedMedia, item_id: str) -> bytes | None:
    if item_id not in media:
        return None
    decoded, shape = media.pixels([item_id])[0], media.manifest.media
    return picture_webp(thumbnail(media_pixels(decoded, shape), POINT_SIDE))


def _changes(store_url: str, version: OpenVersion, examples: Path | None) -> Changes | None:
    """Against the version before; null of the first, of large ones, and where that one cannot be read any more.

    Items that are gone are counted alone, and left out of the neighbours of before: they may have been forgotten.
    """
    parent = version.manifest.parent
    if parent is None or not version.manifest.items:
        return None
    try:
        if max(version.manifest.items, load_manifest(open_store(store_url), parent).items) > MOST_COMPARED:
            return None
        with open_version(store_url, parent) as before:
            found = compare(before, version, queries=CHANGED_QUERIES)
            recall = _recall_of(before.manifest)
    except (NotFound, DamagedArtefact):
        return None
    gone = frozenset(found.removed)
    rows = [replace(q, before=tuple(i for i in q.before if i not in gone)) for q in found.most_changed[:CHANGED_ROWS]]
    found = replace(found, removed=(), most_changed=tuple(rows))
    return Changes(found, len(gone), recall, _pictures_of(found, examples))


def _recall_of(manifest: VersionManifest) -> float | None:
    return max(manifest.recall, key=lambda each: each.k).recall if manifest.recall else None


def _pictures_of(found: VersionDiff, examples: Path | None) -> dict[str, bytes]:
    if examples is None or not found.most_changed:
        return {}
    asked = {item_id for query in found.most_changed for item_id in (query.item_id, *query.before, *query.after)}
    return prepared_pictures(sorted(asked), examples)


def _rejects(examples: Path) -> dict[str, int]:
    reasons = pq.read_table(examples / "rejects.parquet").column("reason").to_pylist()
    return dict(sorted(Counter(reasons).items()))


def _still_there(version: OpenVersion, items: EmbeddedItems) -> EmbeddedItems:
    """The items that the version holds with the same vector: a reindex since may have removed or replaced some."""
    if items.vectors.shape[1] != version.manifest.dimension:
        return EmbeddedItems(items.item_ids[:0], items.labels[:0], items.splits[:0], items.vectors[:0])
    places = pc.index_in(pa.array(items.item_ids.tolist(), pa.large_string()), value_set=ids_of(version))
    held = np.flatnonzero(np.asarray(pc.is_valid(places)))
    published = vectors_of_places(version, np.asarray(places.drop_null(), np.int64))
    prepared = space_of(version.manifest.space).prepare(items.vectors[held])
    held = held[np.isclose(prepared, published, atol=1e-6).all(axis=1)]
    return EmbeddedItems(items.item_ids[held], items.labels[held], items.splits[held], items.vectors[held])


def _curve(version: OpenVersion, items: EmbeddedItems) -> tuple[CurvePoint, ...]:
    """Recall@10 of test items that search among all items, themselves included, and the speed of it."""
    queries = items.vectors[np.flatnonzero(items.splits == "test")[:CURVE_QUERIES]]
    if len(queries) == 0 or version.manifest.items < 10:
        return ()
    space = space_of(version.manifest.space)
    published = vectors_of_places(version, np.arange(version.manifest.items))
    _, native = exact_neighbors(space.prepare(queries), published, 10, space.name)
    exact = space.to_distances(native)
    efs = sorted({*CURVE_EF, version.manifest.ef_search})
    return tuple(_point(version, queries, exact, ef) for ef in efs)


def _point(version: OpenVersion, queries: Array, exact: Array, ef: int) -> CurvePoint:
    """Recall at one ef, and the speed as the median of REPEATS passes after one that is not counted."""
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        _, found = version.search_rows(queries, 10, ef)
        seconds.append(time.perf_counter() - began)
    return CurvePoint(ef, recall_interval(found, exact, 10, ef).recall, len(queries) / float(np.median(seconds[1:])))
