"""What a patch costs beside a full build, and what recall is left after many.

    make benchmark-deps
    .venv/bin/python -m benchmarks.reindex --json work/benchmarks/reindex.json
    .venv/bin/python -m benchmarks.reindex --data tiny --items 2000 --rounds 2          # does it run at all

Half of a change's items are deleted and others added in their place, half are added beside them: of 320,000 items 1 %
deletes 1,600 and adds 3,200. Builds and patches are the graph work alone, in one process on one thread, kernels
compiled, each from vectors read to index.hnsw written; medians of the repetitions. Then rounds of 2 % one after the
other, and the recall of what they leave beside that of a build of the same items. Recall@10 is at ef_search 100, on
vectors that were never indexed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import K, distances_of, find_truth
from benchmarks.data import add_data_arguments, make_data
from benchmarks.tables import (
    describe_machine,
    machine_line,
    markdown_table,
    median_and_all,
    notify,
    section,
    shown,
    write_json,
)
from sim_transforms.hnsw.levels import draw_levels
from sim_transforms.hnsw.patch_whole import Change, parts_of_whole, patch_whole
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.records.manifests import RowRange
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

ITEMS, EF = 320_000, 100
SINGLE = {0.01: 0.05, 0.05: 0.12}
ROUND, RECALL_LOSS = 0.02, 0.005


@dataclass
class Version:
    """A file that is patched again and again.

    Attributes:
        held: [rows] int64, which of the pool's vectors stands in a row, -1 for a free one.
        taken: vectors of the pool that have been used.
    """

    path: Path
    ranges: Sequence[RowRange]
    centroids: Array
    held: Array
    taken: int
    free: Array = field(default_factory=lambda: np.zeros(0, np.int32))


@dataclass(frozen=True)
class Bench:
    """The vectors and how they are indexed."""

    pool: Array
    queries: Array
    settings: IndexSettings
    folder: Path
    seed: int

    def build(self, chosen: Array, name: str) -> tuple[Version, float]:
        """Builds an index of some vectors of the pool; its seconds."""
        path, ids = self.folder / name, [str(number) for number in chosen]
        began = time.perf_counter()
        order = build_whole(self.pool[chosen], self.settings, path, ids)
        seconds = time.perf_counter() - began
        parts = parts_of_whole(self.pool[chosen], ids, self.settings)
        return Version(path, *parts, chosen[order], int(chosen.max(initial=-1)) + 1), seconds

    def patch(self, version: Version, share: float, name: str) -> tuple[Version, float]:
        """One change of a share of the items; its seconds."""
        live = np.flatnonzero(version.held >= 0)
        count = round(len(live) * share)
        generator = np.random.default_rng([self.seed, version.taken])
        deleted = np.sort(generator.choice(live, count // 2, replace=False)).astype(np.int32)
        added = np.arange(version.taken, version.taken + count)
        if version.taken + count > len(self.pool):
            raise SystemExit(f"{len(self.pool)} vectors are too few for these changes: fewer --items or --rounds")
        levels = draw_levels([str(number) for number in added], self.settings.m, self.settings.seed)
        change = Change(deleted, self.pool[added], levels)
        path, parts = self.folder / name, (version.ranges, version.centroids, version.free)
        began = time.perf_counter()
        patched = patch_whole(version.path, path, change, parts, self.settings)
        seconds = time.perf_counter() - began
        held = np.full(patched.row_ranges[-1].end_row, -1, np.int64)
        held[: len(version.held)] = version.held
        held[deleted] = -1
        held[patched.rows] = added
        after = Version(path, patched.row_ranges, version.centroids, held, version.taken + count, patched.free)
        return after, seconds

    def recall(self, version: Version) -> float:
        """Recall@10 at EF."""
        live = np.flatnonzero(version.held >= 0)
        items = self.pool[version.held[live]]
        truth = find_truth(items, self.queries, self.settings.space)
        searcher = NativeSearcher(version.path, self.settings.space, len(version.held), items.shape[1])
        rows, _ = searcher.search(self.queries, K, EF)
        place = np.full(len(version.held), -1, np.int64)
        place[live] = np.arange(len(live))
        gaps = distances_of(items, self.queries, place[rows], truth.inner_product)
        return float((gaps <= truth.distances[:, -1:]).mean())


@dataclass(frozen=True)
class Single:
    """One change of a share of the items, several times."""

    share: float
    seconds: tuple[float, ...]
    of_full: float


@dataclass(frozen=True)
class Outcome:
    """All figures."""

    full_seconds: tuple[float, ...]
    singles: tuple[Single, ...]
    rounds: int
    recall_first: float
    recall_patched: float
    recall_rebuilt: float


def run(bench: Bench, items: int, rounds: int, repeats: int) -> Outcome:
    """Builds, patches once a share, then round after round."""
    chosen = np.arange(items)
    bench.build(chosen[: min(items, 3000)], "warm")  # compiles
    bench.patch(bench.build(chosen[: min(items, 3000)], "warm")[0], 0.02, "warm-patched")
    builds = [bench.build(chosen, "full") for _ in range(repeats)]
    first, full = builds[-1][0], tuple(seconds for _, seconds in builds)
    notify(f"full build: {median_and_all(full)} s")
    singles = []
    for share in SINGLE:
        seconds = tuple(bench.patch(first, share, "once")[1] for _ in range(repeats))
        singles.append(Single(share, seconds, statistics.median(seconds) / statistics.median(full)))
        notify(f"{share:.0%}: {median_and_all(seconds, 2)} s")
    version, recall_first = first, bench.recall(first)
    for number in range(rounds):
        version, seconds_of_round = bench.patch(version, ROUND, f"round-{number % 2}")
        notify(f"round {number + 1} of {rounds}: {seconds_of_round:.2f} s")
    rebuilt, _ = bench.build(np.sort(version.held[version.held >= 0]), "rebuilt")
    return Outcome(full, tuple(singles), rounds, recall_first, bench.recall(version), bench.recall(rebuilt))


def show(outcome: Outcome) -> None:
    """Prints the tables."""
    full = statistics.median(outcome.full_seconds)
    rows = [["full build", median_and_all(outcome.full_seconds), "1.000", "", ""]]
    for single in outcome.singles:
        bound = SINGLE[single.share]
        verdict = "met" if single.of_full <= bound else "missed"
        name = f"patch of {single.share:.0%}"
        rows.append([name, median_and_all(single.seconds, 2), shown(single.of_full, 4), f"at most {bound}", verdict])
    section("Cost", markdown_table(["graph work", "s", "/ full build", "bound", "verdict"], rows))
    loss = outcome.recall_rebuilt - outcome.recall_patched
    verdict = "met" if loss <= RECALL_LOSS else "missed"
    recalls = [outcome.recall_first, outcome.recall_patched, outcome.recall_rebuilt]
    headers = ["first build", f"after {outcome.rounds} rounds of {ROUND:.0%}", "rebuilt", "lost", "bound", "verdict"]
    line = [*(shown(value, 4) for value in recalls), shown(loss, 4), f"at most {RECALL_LOSS}", verdict]
    section(f"Recall@10 at ef_search {EF}", markdown_table(headers, [line]))
    notify(f"a full build takes {full:.1f} s")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Patches beside full builds.")
    add_data_arguments(parser, queries=2_000)
    parser.add_argument("--rounds", type=int, default=10, help="changes of 2 %% one after the other")
    parser.add_argument("--repeats", type=int, default=3, help="builds and single changes to take the median of")
    parser.add_argument("--space", choices=("l2", "cosine", "inner_product"), default="l2")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors and of what is deleted")
    parser.add_argument("--workdir", type=Path, default=Path("work/benchmarks"), help="for the files of a run")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    given = parse(argv)
    items = given.items or ITEMS
    pooled = None if given.data == "glove" else 2 * items
    data = make_data(given.data, pooled, given.queries, given.seed)
    given.workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.workdir) as folder:
        bench = Bench(data.items, data.queries, IndexSettings(space=given.space), Path(folder), given.seed)
        outcome = run(bench, items, given.rounds, given.repeats)
    machine = describe_machine()
    section(f"{items:,} x {data.items.shape[1]} {given.data}, {given.space}", machine_line(machine))
    show(outcome)
    write_json(given.json, {"machine": machine, "items": items, "outcome": asdict(outcome)})


if __name__ == "__main__":
    main(sys.argv[1:])
