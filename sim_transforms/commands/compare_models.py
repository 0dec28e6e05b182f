"""`ruiji evaluate --compare A B`: two models on the same examples: metrics side by side, and whose neighbours changed.

The protocol of `ruiji evaluate`: the gallery is the train items of all labels, the queries are the test items. Classes
that either model was trained on count as known.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems
from sim_transforms.commands.evaluate import by_knowledge, draw_items
from sim_transforms.embedding.saved_model import SavedModelEmbedder
from sim_transforms.errors import ModelMismatch
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.quality.gate import Verdict, judge
from sim_transforms.quality.retrieval import METRICS, RetrievalScores, retrieval_scores
from sim_transforms.records.codec import to_plain

Array = np.ndarray[Any, Any]

NEAREST = 10
_CHANGED = 20


def compare_models(examples: Path, before: Path, after: Path) -> dict[str, Any]:
    """Both models on the items of `examples`.

    Returns:
        {"known": {metric: verdict}, "unseen": {metric: verdict}, "overlap_at_10": share, null without test items,
        "changed": [{"item_id", "label", "overlap"}]}. A verdict holds `old`, `new`, the 95 % interval of the
        difference, and the classes that got worse.

    Raises:
        ModelMismatch: a model of other media than the examples'.
    """
    media = DecodedMedia(examples)
    models = [_load(path, media) for path in (before, after)]
    items = media.items()
    queries, gallery = draw_items(items, clips=media.manifest.media.sound is not None)
    vectors = [_embed(model, media, items) for model in models]
    known = sorted({label for model in models for label in model.manifest.train_labels})
    groups = by_knowledge(items, queries, known)
    result = {
        name: _verdicts(items, vectors, rows, gallery) if len(rows) and len(gallery) else {}
        for name, rows in groups.items()
    }
    return {**result, **_overlaps(items, vectors, queries, gallery)}


def comparison_text(result: dict[str, Any]) -> str:
    """For people: a line a metric, the classes that got worse, the items that changed most."""
    lines = ["no test item with a label has its class in the train split: no metric can be compared"]
    if result["known"] or result["unseen"]:
        lines = [f"{'':<24}{'A':>8}{'B':>8}  difference, 95 %"]
    for group in ("known", "unseen"):
        for name, each in result[group].items():
            interval = f"{each['new'] - each['old']:+.4f} ({each['low']:+.4f} to {each['high']:+.4f})"
            lines.append(f"{group + ' ' + name:<24}{each['old']:>8.4f}{each['new']:>8.4f}  {interval}")
        worse = result[group].get(METRICS[0], {}).get("worse", [])
        lines += [f"  worse: {each['label']} {each['old']:.4f} -> {each['new']:.4f}" for each in worse]
    if result["overlap_at_10"] is not None:
        lines.append(f"overlap of the nearest {NEAREST}: {result['overlap_at_10']:.4f}")
    lines += [
        f"  changed: {each['item_id']} ({each['label']}), {each['overlap']:.1f} kept" for each in result["changed"]
    ]
    return "\n".join(lines)


def _load(path: Path, media: DecodedMedia) -> SavedModelEmbedder:
    model = SavedModelEmbedder.load(str(path), None)
    if model.manifest.media != media.manifest.media:
        raise ModelMismatch(f"{path} takes other media than these examples hold; compare models of one configuration")
    return model


def _embed(model: SavedModelEmbedder, media: DecodedMedia, items: EmbeddedItems) -> Array:
    return model.embed([media.pixels([item_id]).tobytes() for item_id in items.item_ids.tolist()])


def _verdicts(items: EmbeddedItems, vectors: list[Array], queries: Array, gallery: Array) -> dict[str, Any]:
    asked, offered = items.labels[queries].tolist(), items.labels[gallery].tolist()
    before, after = (retrieval_scores(v[queries], asked, v[gallery], offered, "cosine") for v in vectors)
    labels = [asked[row] for row in before.rows]
    return {name: to_plain(_verdict(before, after, labels, name)) for name in METRICS if len(before.rows)}


def _verdict(before: RetrievalScores, after: RetrievalScores, labels: list[str], name: str) -> Verdict:
    return judge(before.scores[name], after.scores[name], labels, 0.0)


def _overlaps(items: EmbeddedItems, vectors: list[Array], queries: Array, gallery: Array) -> dict[str, Any]:
    if not len(queries) or not len(gallery):
        return {"overlap_at_10": None, "changed": []}
    first, second = (exact_neighbors(v[queries], v[gallery], NEAREST, "cosine")[0] for v in vectors)
    kept = np.array(
        [len(set(a) & set(b)) / first.shape[1] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    )
    order = np.argsort(kept, kind="stable")[:_CHANGED]
    changed = [
        {"item_id": str(items.item_ids[queries[n]]), "label": str(items.labels[queries[n]]), "overlap": float(kept[n])}
        for n in order
        if kept[n] < 1.0
    ]
    return {"overlap_at_10": round(float(kept.mean()), 6), "changed": changed}
