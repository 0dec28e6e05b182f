"""What a run counts: items of the catalog, and of sounds their clips beside them."""

from typing import Any

from sim_transforms.commands.summary import RunSummary, evaluation_text, summary_json, summary_text
from sim_transforms.runs.stages import StageResult

INDEXED = {
    "version": "v", "folder": "f", "items": 95, "rejected": 3, "recall_at_10": 0.99, "ef_search": 20, "bytes": 10,
    "rejects": "r",
}  # fmt: skip
SOUNDS = {"sounds": 11, "sounds_rejected": 1}
METRICS = {"precision_at_1": 0.9, "map_at_r": 0.5, "queries": 40, "queries_without_relevant": 2}


def _summary(indexed: dict[str, Any], with_preprocess: bool = True) -> RunSummary:
    ledger = {"items_in": 14, "items_out": 12, "rejected": 2, "skipped": 0}
    preprocessed = StageResult(True, {"ledger": ledger}) if with_preprocess else None
    return RunSummary(preprocessed, StageResult(False, {"inferences": 98}), StageResult(True, indexed), None, None)


def test_summary_of_sounds_balances_in_sounds_and_counts_clips_beside_them() -> None:
    found = summary_json(_summary({**INDEXED, **SOUNDS}))
    assert (found["items"], found["accepted"], found["rejected"], found["skipped"]) == (14, 11, 3, 0)
    assert (found["clips"], found["inferences"]) == (95, 98)
    assert "14 in the catalog, 11 indexed as 95 clips, 3 rejected" in summary_text(_summary({**INDEXED, **SOUNDS}))


def test_summary_of_the_index_alone_counts_sounds_too() -> None:
    found = summary_json(_summary({**INDEXED, **SOUNDS}, with_preprocess=False))
    assert (found["items"], found["accepted"], found["rejected"], found["clips"]) == (12, 11, 1, 95)


def test_summary_of_pictures_knows_no_clips() -> None:
    found = summary_json(_summary(INDEXED))
    assert (found["accepted"], found["rejected"]) == (95, 5)
    assert "clips" not in found


def test_page_of_a_version_is_named_where_there_is_one() -> None:
    assert "\nbrowse     f/page/index.html" in summary_text(_summary({**INDEXED, "page": "f/page/index.html"}))
    assert "browse" not in summary_text(_summary({**INDEXED, "page": None}))
    assert "browse" not in summary_text(_summary(INDEXED))


def test_evaluation_text_names_what_stands_beside_the_model() -> None:
    intervals = {"known": {"precision_at_1": [0.85, 0.93]}}
    open_set = {"known": {"queries": 5.0, "auroc": 0.9, "answered": 0.9, "right": 0.8, "refused": 0.7}, "unseen": {}}
    clusters = {"known": {"silhouette": 0.61, "nmi": 0.92, "items": 40, "classes": 4}, "unseen": {}}
    beside = {"intervals": intervals, "open_set": open_set, "clusters": clusters, "calibration": {"max_distance": 0.2}}
    known = {"known": METRICS, "raw": {"known": METRICS}, **beside}
    assert "(0.8500 to 0.9300)" in evaluation_text(known)
    assert "known: 0.8000 answered rightly, 0.7000 refused" in evaluation_text(known)
    assert "(raw pixels 0.9000, 0.5000)" in evaluation_text(known)
    assert "(raw spectrum 0.9000, 0.5000)" in evaluation_text({**known, "raw_kind": "spectrum"})
    assert "silhouette 0.6100, NMI 0.9200 (40 test items of 4 classes)" in evaluation_text(known)
    assert "has no threshold" in evaluation_text({**known, "calibration": None})


def test_evaluation_text_says_why_there_are_no_figures() -> None:
    none = {"precision_at_1": None, "map_at_r": None, "queries": 0, "queries_without_relevant": 12}
    beside = {"intervals": {}, "open_set": {}, "clusters": {}, "calibration": None, "raw": {}}
    assert "none of 12 test items has its class in the train split" in evaluation_text({"known": none, **beside})
