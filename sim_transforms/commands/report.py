"""`ruiji report`: gathers what a page shows about a published version and writes it."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems, load_embeddings
from sim_transforms.commands.evaluate import load_evaluation
from sim_transforms.commands.thumbnails import media_png
from sim_transforms.commands.version_vectors import ids_of, vectors_of_places
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.lookup.clips import sounds_near
from sim_transforms.lookup.open import Match, OpenVersion, open_version
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.quality.recall import recall_interval
from sim_transforms.records.clips import sound_of
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.report.data import CurvePoint, ReportData, Row, Section, Tile
from sim_transforms.report.page import MEDIA_PAGE, write_report

Array = np.ndarray[Any, Any]

NEIGHBORS = 8
PER_CLASS = 2
MOST_ROWS = 24
CURVE_QUERIES = 500
REPEATS = 5
CURVE_EF = (10, 16, 24, 40, 64, 100, 200)


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
    sections: tuple[Section, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    rejects: dict[str, int] = {}
    items_in: int | None = None
    if whole and examples and embeddings and model:
        items = _still_there(version, load_embeddings(embeddings))
        curve = _curve(version, items)
        media = DecodedMedia(examples)
        sections = _sections(version, items, media, ModelManifest.load(model).train_labels)
        if media.manifest.catalog_digest == version.manifest.catalog:
            rejects, items_in = _rejects(examples), media.manifest.ledger.items_in
    linked = (output / MEDIA_PAGE).is_file()
    shown = (rejects, items_in, curve, sections, linked)
    quality = load_evaluation(evaluation, version.manifest.model) if evaluation and version.manifest.model else None
    data = ReportData(name, version.version, version.manifest, quality, *shown)
    return write_report(data, output)


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


def _sections(
    version: OpenVersion, items: EmbeddedItems, media: DecodedMedia, known: Sequence[str]
) -> tuple[Section, ...]:
    """Mistakes first, then some queries of each class, known and unseen apart."""
    queries = np.flatnonzero((items.splits == "test") & (items.labels != ""))
    if not len(queries):
        return () if version.manifest.clips is None else _sounds(version, items, media)
    found = _neighbors(version, items, queries)
    wrong = [r for r, m in found.items() if m and m[0].metadata.get("label") != items.labels[r]]
    seen = _some_of_each(items, [r for r in found if items.labels[r] in known])
    unseen = _some_of_each(items, [r for r in found if items.labels[r] not in known])
    kind = "test items" if version.manifest.clips is None else "test clips"
    where = "among all items of this version, test items too"
    shown = f"{len(wrong)} of {len(queries)} {kind} have a nearest neighbour of another class {where}"
    mistakes = f"{shown}; the first {MOST_ROWS} are shown." if len(wrong) > MOST_ROWS else f"{shown}."
    parts = (
        ("Mistakes", mistakes, wrong[:MOST_ROWS]),
        ("Known classes", "Classes that the model was trained on.", seen),
        ("Classes never seen in training", "Found by indexing alone.", unseen),
    )
    made = (Section(t, n, tuple(_row(items, media, r, found[r]) for r in rows)) for t, n, rows in parts)
    return tuple(section for section in made if section.rows or section.title == "Mistakes")


def _neighbors(version: OpenVersion, items: EmbeddedItems, queries: Array) -> dict[int, list[Match]]:
    """The nearest items of some rows; of clips the nearest clip each of the nearest other sounds."""
    if version.manifest.clips is None:
        answers = version.search(items.vectors[queries], NEIGHBORS + 1)
        pairs = zip(queries.tolist(), answers, strict=True)
        return {row: [m for m in found if m.item_id != items.item_ids[row]][:NEIGHBORS] for row, found in pairs}
    sounds = [sound_of(item_id) for item_id in items.item_ids[queries].tolist()]
    return dict(zip(queries.tolist(), sounds_near(version, items.vectors[queries], sounds, NEIGHBORS), strict=True))


def _sounds(version: OpenVersion, items: EmbeddedItems, media: DecodedMedia) -> tuple[Section, ...]:
    """Of a catalog without test items with labels: the first clip of some sounds, no answer right or wrong."""
    first: dict[str, int] = {}
    for row, item_id in enumerate(items.item_ids.tolist()):
        first.setdefault(sound_of(item_id), row)
    rows = np.array([first[sound] for sound in sorted(first)[:MOST_ROWS]], np.int64)
    found = _neighbors(version, items, rows)
    note = "The first clip of some sounds, and the nearest clips of other sounds."
    return (Section("Sounds", note, tuple(_row(items, media, row, found[row], judged=False) for row in found)),)


def _some_of_each(items: EmbeddedItems, rows: list[int]) -> list[int]:
    """The first PER_CLASS rows of each class, by item_id."""
    by_class: dict[str, list[int]] = {}
    for row in sorted(rows, key=lambda r: (str(items.labels[r]), str(items.item_ids[r]))):
        by_class.setdefault(str(items.labels[row]), []).append(row)
    return [row for rows in by_class.values() for row in rows[:PER_CLASS]][:MOST_ROWS]


def _row(items: EmbeddedItems, media: DecodedMedia, row: int, matches: Sequence[Match], *, judged: bool = True) -> Row:
    label = str(items.labels[row])
    ids = [str(items.item_ids[row]), *(m.item_id for m in matches)]
    pictures = [media_png(media.pixels([i])[0], media.manifest.media) if i in media else None for i in ids]
    neighbors = tuple(
        Tile(
            m.item_id,
            str(m.metadata.get("label") or ""),
            png,
            m.distance,
            m.metadata.get("label") == label if judged else None,
        )
        for m, png in zip(matches, pictures[1:], strict=True)
    )
    return Row(Tile(ids[0], label, pictures[0]), neighbors)
