"""`ruiji tune`: M, ef_construction and ef_search against recall, speed, size and build time, on the user's vectors."""

import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim_transforms.commands.sample_source import SampleSource
from sim_transforms.quality.sample import without_rejects
from sim_transforms.quality.tune import Trial, TuneRow, grid, make_trial, measure_row, recommend
from sim_transforms.quality.warm import warm_kernels
from sim_transforms.settings.stages import IndexSettings
from sim_transforms.storage.files import write_file

M = (8, 16, 24, 32)
EF_CONSTRUCTION = (50, 100, 200)
SAMPLE = 50_000
QUERIES = 1_000


@dataclass(frozen=True)
class Tuning:
    """What was measured, and how it is to be read.

    Attributes:
        items: of the catalog.
        sample, queries: items that were indexed, and held out.
        recall_target: of the settings.
        rows: in the order of M and ef_construction.
        recommended: one of the rows.
    """

    items: int
    sample: int
    queries: int
    recall_target: float
    rows: tuple[TuneRow, ...]
    recommended: TuneRow

    @property
    def reached(self) -> bool:
        """Whether any row reaches the target."""
        return self.recommended.reaches_target


def tune(
    source: SampleSource,
    settings: IndexSettings,
    *,
    m: Sequence[int] = M,
    ef_construction: Sequence[int] = EF_CONSTRUCTION,
    sample: int = SAMPLE,
    progress: Callable[[str, int, int], None],
) -> Tuning:
    """Draws, builds every pair, measures.

    Args:
        source: of the vectors.
        settings: of the index; M and ef_construction are replaced.
        m, ef_construction: the values to try.
        sample: items to index, all where there are fewer; QUERIES more are drawn as queries.
        progress: told of every row.
    """
    pairs = grid(m, ef_construction, settings)
    drawn = without_rejects(source.draw(sample + QUERIES, settings.seed), settings.space)
    trial = make_trial(drawn, QUERIES, source.items, settings.space)
    warm_kernels(trial.base, settings)
    rows = []
    for number, pair in enumerate(pairs):
        rows.append(_row(trial, pair))
        progress("tune", number + 1, len(pairs))
    sizes = (source.items, len(trial.base), len(trial.queries))
    return Tuning(*sizes, settings.recall_target, tuple(rows), recommend(rows))


def _row(trial: Trial, settings: IndexSettings) -> TuneRow:
    with tempfile.TemporaryDirectory() as folder:
        return measure_row(trial, settings, Path(folder))


def tuning_json(tuning: Tuning) -> dict[str, Any]:
    """{"rows": [...], "recommended": {...}}, each row flat."""
    return {"rows": [_plain(tuning, row) for row in tuning.rows], "recommended": _plain(tuning, tuning.recommended)}


def _plain(tuning: Tuning, row: TuneRow) -> dict[str, Any]:
    return {
        "m": row.m,
        "ef_construction": row.ef_construction,
        "ef_search": row.ef_search,
        "recall_at_1": row.recall_at_1.recall,
        "recall_at_10": row.recall_at_10.recall,
        "recall_at_10_low": row.recall_at_10.low,
        "recall_at_10_high": row.recall_at_10.high,
        "reaches_target": row.reaches_target,
        "queries_per_second": row.queries_per_second,
        "index_bytes": row.index_bytes,
        "build_core_seconds": row.build_core_seconds,
        "sample_core_seconds": row.sample_core_seconds,
        "items": tuning.items,
        "sample": tuning.sample,
        "queries": tuning.queries,
    }


def write_csv(tuning: Tuning, path: Path) -> None:
    """The rows of the JSON as CSV, and whether each is recommended."""
    text = io.StringIO()
    rows = [{**_plain(tuning, row), "recommended": row is tuning.recommended} for row in tuning.rows]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.getvalue().encode())


_HEAD = ("", "M", "efC", "ef", "recall@1", "recall@10", "95 % interval", "queries/s", "file", "build")


def tuning_text(tuning: Tuning) -> str:
    """The table for people; the last line holds the flags to use."""
    lines = [_cells(tuning, row) for row in tuning.rows]
    widths = [max(len(line[i]) for line in [list(_HEAD), *lines]) for i in range(len(_HEAD))]
    table = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in [list(_HEAD), *lines]]
    row = tuning.recommended
    flags = f"--set index.m={row.m} --set index.ef_construction={row.ef_construction}"
    return "\n".join([*table, "", *_notes(tuning), "", flags])


def _cells(tuning: Tuning, row: TuneRow) -> list[str]:
    at_ten = row.recall_at_10
    return [
        "*" if row is tuning.recommended else "",
        str(row.m),
        str(row.ef_construction),
        str(row.ef_search),
        f"{row.recall_at_1.recall:.4f}",
        f"{at_ten.recall:.4f}{'' if row.reaches_target else ' below'}",
        f"{at_ten.low:.4f}-{at_ten.high:.4f}",
        f"{row.queries_per_second:,.0f}",
        f"{row.index_bytes / 2**20:,.2f} MiB",
        f"{row.build_core_seconds:,.1f} s",
    ]


def _notes(tuning: Tuning) -> list[str]:
    rule = "the fastest within 5 %, then the smallest file, then the shortest build"
    chosen = f"* of the rows that reach recall@10 {tuning.recall_target}: {rule}"
    if not tuning.reached:
        chosen = f"* no row reaches recall@10 {tuning.recall_target}: {advice(tuning)}"
    return [
        f"measured on {tuning.sample:,} of {tuning.items:,} items, drawn by hash, with {tuning.queries:,} others as "
        "queries, on one thread; ef is the smallest that reaches the target",
        f"file: index.hnsw of all {tuning.items:,} items, by the file format; build: seconds of one core for all "
        f"{tuning.items:,} items, carried linearly from the sample; divide by the workers",
        "a larger catalog needs a higher ef: `ruiji index` measures it again on its own file",
        chosen,
    ]


def advice(tuning: Tuning) -> str:
    """What to raise where no row reaches the target."""
    row, largest = tuning.recommended, tuning.rows[-1]
    return (
        f"the highest is {row.recall_at_10.recall} at M {row.m}, ef_construction {row.ef_construction}, "
        f"ef_search {row.ef_search}; try --m above {largest.m} or --ef-construction above {largest.ef_construction}, "
        "raise index.neighbor_shards, or lower index.recall_target"
    )
