"""`ruiji report --media`: gathers what a page tells of a catalog's media, and writes it; reads `examples/` alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim_transforms.commands.media_hashes import ExampleTable, hash_examples
from sim_transforms.commands.media_samples import Samples
from sim_transforms.media.guard import bounds_of
from sim_transforms.quality.duplicates import (
    Groups,
    HashedItems,
    Leaks,
    find_leaks,
    groups_of,
    hashed_items,
    near_groups,
)
from sim_transforms.quality.near_hashes import DISTANCE
from sim_transforms.records.items import FailedItem
from sim_transforms.report.histogram import histogram
from sim_transforms.report.media_data import (
    ClassBalance,
    Copies,
    CopyGroup,
    Histogram,
    LabelCount,
    LabelLeaks,
    LeakPair,
    LeakReport,
    MediaReport,
    RejectReason,
)
from sim_transforms.report.media_page import write_media_page
from sim_transforms.settings.stages import PreprocessSettings

Array = np.ndarray[Any, Any]

# What the page shows of each kind at most; all that bounds its size.
REASONS, REJECTED_EACH = 24, 8
GROUPS, MEMBERS = 8, 6
LEAKS, LABELS, SIZES = 16, 20, 8
_FEW = (2, 5, 10)


def media_report(
    examples: Path,
    output: Path,
    *,
    name: str,
    preprocess: PreprocessSettings,
    linked: bool = False,
    distance: int = DISTANCE,
) -> dict[str, Any]:
    """Writes `output/media.html`; gives its path as `report`, and the counts of duplicates, leaks and rejects.

    Args:
        examples: folder of the prepared media.
        output: folder of the page.
        name: of the catalog, shown as the title.
        preprocess: says what time and memory a rejected file may take to be shown.
        linked: whether index.html lies beside, or will.
        distance: bits of 64 by which the hashes of near duplicates may differ.

    Raises:
        NotFound: there are no whole examples.
        DamagedArtefact: they cannot be read.
    """
    table = ExampleTable.read(examples)
    samples = Samples(table, bounds_of(preprocess))
    hashed = hashed_items(hash_examples(table), table.digests, distance)
    first = table.first_items()
    exact, near = groups_of(table.digests[first]), near_groups(hashed)
    labels = _label_codes(table)
    ledger = table.manifest.ledger
    report = MediaReport(
        name=name,
        kind=table.manifest.media.kind,
        files_in=ledger.items_in,
        accepted=ledger.items_out,
        rejected=ledger.rejected,
        items=len(table.items),
        skipped_clips=_skipped_clips(examples),
        leaks=_leaks(table, hashed, samples),
        rejects=_rejects(examples, samples),
        balance=_balance(examples),
        histograms=_histograms(table),
        sizes=_sizes(table),
        exact=_copies(Groups(first[exact.rows], exact.begins), labels, samples, of_files=True),
        near=_copies(near, labels, samples, of_files=False),
        distance=distance,
        flat=hashed.flat,
        whole=hashed.near.whole,
        linked=linked,
    )
    return {"report": str(write_media_page(report, output)), **report.plain()}


def media_report_text(result: dict[str, Any]) -> str:
    """The lines that a person reads."""
    exact, near, leaks = result["duplicates"]["exact"], result["duplicates"]["near"], result["leaks"]
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in result["rejects"].items())
    more = "" if near["complete"] else "; there are more"
    return "\n".join(
        (
            f"rejects    {reasons or 'none'}",
            f"exact      {exact['files']:,} files in {exact['groups']:,} groups of duplicates",
            f"near       {near['items']:,} items in {near['groups']:,} groups{more}",
            f"leaks      {leaks['exact']:,} exact, {leaks['near']:,} near of {leaks['test']:,} test items",
            f"report     {result['report']}",
        )
    )


def _label_codes(table: ExampleTable) -> Array:
    """[items] int64 code of each label."""
    return np.asarray(table.items.column("label").combine_chunks().dictionary_encode().indices, np.int64)


def _skipped_clips(examples: Path) -> int:
    return sum(entry["skipped"] for entry in json.loads((examples / "ledger.json").read_text()))


def _rejects(examples: Path, samples: Samples) -> tuple[RejectReason, ...]:
    """Reasons, the most frequent first, with the first files of each; the last ones are counted alone."""
    rows = pq.read_table(examples / "rejects.parquet")
    counted = sorted(rows.column("reason").value_counts().to_pylist(), key=_count_and_value)
    chosen: dict[str, list[FailedItem]] = {}
    for place, entry in enumerate(counted):
        kept = rows.filter(pc.equal(rows.column("reason"), entry["values"])).slice(0, REJECTED_EACH)
        chosen[entry["values"]] = [FailedItem(**row) for row in kept.to_pylist()] if place < REASONS else []
    shown = iter(samples.rejected([item for items in chosen.values() for item in items]))
    return tuple(
        RejectReason(entry["values"], entry["counts"], tuple(next(shown) for _ in chosen[entry["values"]]))
        for entry in counted
    )


def _count_and_value(entry: dict[str, Any]) -> tuple[int, str]:
    return -entry["counts"], entry["values"]


def _balance(examples: Path) -> ClassBalance:
    told = json.loads((examples / "statistics.json").read_text())["labels"]
    counts = [LabelCount(label, n.get("train", 0), n.get("test", 0)) for label, n in told.items() if label]
    counts.sort(key=lambda c: (-c.items, c.label))
    return ClassBalance(
        labels=len(counts),
        unlabelled=sum(told.get("", {}).values()),
        few=tuple((limit, sum(c.items < limit for c in counts)) for limit in _FEW),
        most=tuple(counts[: LABELS if len(counts) > 2 * LABELS else None]),
        rarest=tuple(counts[-LABELS:]) if len(counts) > 2 * LABELS else (),
    )


def _histograms(table: ExampleTable) -> tuple[Histogram, ...]:
    def values(name: str) -> Array:
        return table.files.column(name).to_numpy()

    size = histogram("File size", values("size_bytes"), "bytes")
    if table.manifest.media.kind == "image":
        width, height = values("width"), values("height")
        aspect = np.round(width / np.maximum(height, 1), 3)
        return (
            histogram("Width", width, "pixels"),
            histogram("Height", height, "pixels"),
            histogram("Width / height", aspect),
            size,
        )
    return (
        histogram("Duration", values("seconds"), "s"),
        histogram("Sample rate", values("sample_rate"), "Hz"),
        histogram("Channels", values("channels")),
        size,
    )


def _sizes(table: ExampleTable) -> tuple[tuple[str, int], ...]:
    if table.manifest.media.kind != "image":
        return ()
    grouped = table.files.group_by(["width", "height"]).aggregate([([], "count_all")]).to_pylist()
    grouped.sort(key=lambda g: (-g["count_all"], g["width"], g["height"]))
    return tuple((f"{g['width']} x {g['height']}", g["count_all"]) for g in grouped[:SIZES])


def _copies(groups: Groups, labels: Array, samples: Samples, *, of_files: bool) -> Copies:
    """Counts groups, and shows first those whose labels differ."""
    differ = groups.kinds(labels) > 1
    shown = np.argsort(~differ, kind="stable")[:GROUPS].tolist()
    return Copies(
        groups=len(groups),
        members=len(groups.rows),
        labels_differ=int(differ.sum()),
        shown=tuple(
            CopyGroup(
                len(groups.of(group)),
                bool(differ[group]),
                tuple(samples.item(row, of_file=of_files) for row in groups.of(group)[:MEMBERS].tolist()),
            )
            for group in shown
        ),
    )


def _leaks(table: ExampleTable, hashed: HashedItems, samples: Samples) -> LeakReport:
    found = find_leaks(hashed, table.is_train)
    order = np.lexsort((found.test, found.bits, ~found.exact))[:LEAKS]
    pairs = tuple(
        LeakPair(
            samples.item(int(found.test[place])),
            samples.item(int(found.train[place])),
            bool(found.exact[place]),
            int(found.bits[place]),
        )
        for place in order.tolist()
    )
    exact = int(found.exact.sum())
    return LeakReport(int((~table.is_train).sum()), exact, len(found.test) - exact, _worst_labels(table, found), pairs)


def _worst_labels(table: ExampleTable, found: Leaks) -> tuple[LabelLeaks, ...]:
    encoded = table.items.column("label").combine_chunks().dictionary_encode()
    codes, names = np.asarray(encoded.indices, np.int64), encoded.dictionary.to_pylist()
    tests = np.bincount(codes[~table.is_train], minlength=len(names))
    exact = np.bincount(codes[found.test[found.exact]], minlength=len(names))
    near = np.bincount(codes[found.test[~found.exact]], minlength=len(names))
    rows = [
        LabelLeaks(names[code], int(tests[code]), int(exact[code]), int(near[code]))
        for code in np.flatnonzero(exact + near).tolist()
    ]
    return tuple(sorted(rows, key=lambda r: (-r.share, -r.test, r.label))[:LABELS])
