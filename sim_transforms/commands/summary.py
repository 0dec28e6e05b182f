"""What `run` and `index` say at their end, for people and as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim_transforms.commands.compared import compared_text
from sim_transforms.report.data import worst_classes
from sim_transforms.runs.stages import StageResult

# Classes that a person is shown.
_WORST = 10


@dataclass(frozen=True)
class RunSummary:
    """Results of the stages of one run; null where the command has no such stage."""

    preprocessed: StageResult | None
    embedded: StageResult | None
    indexed: StageResult
    evaluation: dict[str, Any] | None
    report: Path | None


def summary_json(summary: RunSummary) -> dict[str, Any]:
    """The object that `--json` prints; counts items of the catalog, and beside them the `clips` of sounds."""
    indexed = summary.indexed.results
    accepted, lost = _indexed_items(indexed)
    ledger = summary.preprocessed.results["ledger"] if summary.preprocessed else _ledger_of_index(accepted, lost)
    return {
        "version": indexed["version"],
        "items": ledger["items_in"],
        "accepted": accepted,
        **({"clips": indexed["items"]} if "sounds" in indexed else {}),
        "rejected": ledger["rejected"] + (lost if summary.preprocessed else 0),
        "skipped": ledger["skipped"],
        "inferences": _inferences(summary.embedded),
        "recall_at_10": indexed["recall_at_10"],
        "ef_search": indexed["ef_search"],
    }


def _inferences(embedded: StageResult | None) -> int:
    return 0 if embedded is None or embedded.skipped else int(embedded.results["inferences"])


def _indexed_items(indexed: dict[str, Any]) -> tuple[int, int]:
    """Items of the catalog that the index holds, and those that it refused: of sounds, all of whose clips it did."""
    if "sounds" in indexed:
        return indexed["sounds"], indexed["sounds_rejected"]
    return indexed["items"], indexed["rejected"]


def _ledger_of_index(accepted: int, lost: int) -> dict[str, int]:
    return {"items_in": accepted + lost, "rejected": lost, "skipped": 0}


def summary_text(summary: RunSummary) -> str:
    """The lines that a person reads."""
    counts, indexed = summary_json(summary), summary.indexed.results
    recall = counts["recall_at_10"]
    clips = f" as {counts['clips']:,} clips" if "clips" in counts else ""
    lines = [
        f"items      {counts['items']:,} in the catalog, {counts['accepted']:,} indexed{clips}, "
        f"{counts['rejected']:,} rejected, {counts['skipped']:,} skipped",
        f"inferences {counts['inferences']:,}",
        f"index      recall@10 {'-' if recall is None else format(recall, '.4f')} at ef_search {counts['ef_search']}"
        f"{_speed(indexed)}, {indexed['bytes']:,} bytes",
        f"version    {counts['version']} in {indexed['folder']}",
    ]
    if indexed.get("page"):
        lines.append(f"browse     {indexed['page']}")
    if indexed["rejected"]:
        lines.append(f"rejects    {indexed['rejects']} names each with its reason")
    if summary.evaluation is not None:
        lines.append(evaluation_text(summary.evaluation))
    if not summary.indexed.skipped and indexed.get("estimate"):
        lines.append(compared_text(indexed["estimate"]))
    if summary.report is not None:
        lines.append(f"report     {summary.report}")
    return "\n".join(lines)


def _speed(indexed: dict[str, Any]) -> str:
    speed = indexed.get("queries_per_second")
    return f", {speed:,.0f} queries a second on one thread" if speed else ""


def evaluation_text(evaluation: dict[str, Any]) -> str:
    """A line a group of classes: precision@1 with its interval and MAP@R of the model, and of raw pixels or spectra.

    Then clusters of the test items, and what the match threshold does in the open-set test.
    """
    lines, kind = [], evaluation.get("raw_kind", "pixels")
    for classes in ("known", "unseen"):
        model, raw = evaluation.get(classes) or {}, (evaluation.get("raw") or {}).get(classes) or {}
        if not model:
            continue
        if not model["queries"]:
            left_out = model["queries_without_relevant"]
            lines.append(f"{classes:<10} no figures: none of {left_out:,} test items has its class in the train split")
            continue
        low, high = evaluation["intervals"][classes]["precision_at_1"]
        shown = f"precision@1 {model['precision_at_1']:.4f} ({low:.4f} to {high:.4f}), MAP@R {model['map_at_r']:.4f}"
        beside = f" (raw {kind} {raw['precision_at_1']:.4f}, {raw['map_at_r']:.4f})" if raw else ""
        lines.append(f"{classes:<10} {shown}{beside}")
    return (
        "\n".join([*lines, *_cluster_lines(evaluation), *_threshold_lines(evaluation)])
        or "no test items with labels to evaluate"
    )


def _cluster_lines(evaluation: dict[str, Any]) -> list[str]:
    return [
        f"clusters   {classes}: silhouette {found['silhouette']:.4f}, NMI {found['nmi']:.4f} "
        f"({found['items']:,} test items of {found['classes']:,} classes)"
        for classes, found in evaluation["clusters"].items()
        if found
    ]


def _threshold_lines(evaluation: dict[str, Any]) -> list[str]:
    lines = []
    if evaluation["calibration"] is None and any(evaluation["open_set"].values()):
        return ["no match   the model has no threshold (train.calibrate_precision), so that search always answers"]
    for classes, scores in evaluation["open_set"].items():
        if "refused" in scores:
            told = f"{scores['right']:.4f} answered rightly, {scores['refused']:.4f} refused where the class is missing"
            lines.append(f"no match   {classes}: {told}")
    return lines


def classes_text(evaluation: dict[str, Any]) -> str:
    """The classes that are found worst, a line each; empty where all are found."""
    worst = worst_classes(evaluation, _WORST)
    lines = [
        f"  {each['label']}: precision@1 {each['precision_at_1']:.4f} ({each['low']:.4f} to {each['high']:.4f}) of "
        f"{each['queries']} queries{'' if each['known'] else ', unseen'}"
        for each in worst
    ]
    return "\n".join(["worst classes", *lines]) if lines else ""
