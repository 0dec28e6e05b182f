"""What an item costs, and what a worker holds, as the catalog grows and `shard_items` stays.

    .venv/bin/python -m benchmarks.scale --json work/benchmarks/scale.json
    .venv/bin/python -m benchmarks.scale --sizes 100000,300000,1000000 --shard-items 25000 --rounds 3
    .venv/bin/python -m benchmarks.scale --sizes 1000,2000 --shard-items 500        # does it run at all
    .venv/bin/python -m benchmarks.scale --kind stages

Runs the real command, `ruiji index --embeddings x.npy`, on `clustered` vectors of each size (64 dimensions, 2,000
clusters at every size), medians of the rounds. "graph" is from the first vector read to index.hnsw written, "command"
the whole process, "CPU" user and system seconds of all its processes. Growth compares the cost of an item with that of
the smallest size: at most 25 % more is promised, and that the peak of the largest SDK worker stays within 10 %, for it
holds its interpreter, its libraries and what `shard_items` allows. The process that was started, which on one machine
is Beam's runner and holds every shuffle, may grow: on a cluster that is the cluster's work. Memory as in
`benchmarks/processes.py`.

With `--kind stages` the cost model of all stages (`benchmarks/stage_costs.py`): fitted on two sizes, tried on a third.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import stage_costs
from benchmarks.data import CLUSTERS, DIMENSIONS, clustered
from benchmarks.ruiji import PROGRAM, build_version
from benchmarks.tables import (
    describe_machine,
    machine_line,
    markdown_table,
    mebibytes,
    median_of,
    notify,
    section,
    shown,
    write_json,
)

COST_GROWTH = 0.25
MEMORY_GROWTH = 0.10
_WARM_UP_ITEMS = 2_000
# Of each kind: sizes, shard_items. Where lines are fitted, the smallest size has several shards too.
_DEFAULTS = {"growth": ("100000,300000,1000000", 25_000), "stages": ("10000,100000,1000000", 5_000)}


@dataclass(frozen=True)
class Plan:
    """What is run; `program` stands before `index` on the command line."""

    sizes: tuple[int, ...]
    shard_items: int
    rounds: int
    threads: int
    seed: int
    program: Sequence[str] = PROGRAM


@dataclass(frozen=True)
class Size:
    """Medians at one size.

    Attributes:
        graph_seconds: null where the version's timings do not hold it.
        worker_rss, worker_pss, main_rss, main_pss: peaks in bytes of the largest SDK worker and of the command itself.
    """

    items: int
    shards: int
    command_seconds: float
    graph_seconds: float | None
    cpu_seconds: float
    worker_rss: int
    worker_pss: int
    main_rss: int
    main_pss: int
    file_bytes: int

    @property
    def graph_microseconds(self) -> float | None:
        """Of an item."""
        return None if self.graph_seconds is None else self.graph_seconds / self.items * 1e6

    @property
    def cpu_microseconds(self) -> float:
        """Of an item."""
        return self.cpu_seconds / self.items * 1e6


def growth(first: float | None, now: float | None) -> float | None:
    """Share by which `now` lies above `first`; null where one of them is missing or nothing is to compare with."""
    return now / first - 1 if now is not None and first else None


def within(values: Sequence[float | None], bound: float) -> bool | None:
    """Whether no value grows above the first by more than the bound; null where one is missing."""
    shares = [growth(values[0], value) for value in values]
    return None if any(share is None for share in shares) else all((share or 0) <= bound for share in shares)


def measure_size(plan: Plan, items: int, folder: Path) -> Size:
    """Runs the command `rounds` times on one size."""
    path = folder / "items.npy"
    np.save(path, clustered(items, DIMENSIONS["clustered"], CLUSTERS["clustered"], plan.seed))
    runs = []
    for number in range(plan.rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            runs.append(_run(plan, items, path, Path(place) / "run"))
        notify(f"{items:,} items, round {number + 1} of {plan.rounds}: command {runs[-1].command_seconds:.1f} s")
    return medians(runs)


def medians(runs: Sequence[Size]) -> Size:
    """Field by field; items, shards and bytes are the same in all runs."""

    def middle(name: str) -> float:
        return statistics.median(getattr(run, name) for run in runs)

    return Size(
        runs[0].items,
        runs[0].shards,
        middle("command_seconds"),
        median_of([run.graph_seconds for run in runs]),
        middle("cpu_seconds"),
        *(int(middle(name)) for name in ("worker_rss", "worker_pss", "main_rss", "main_pss", "file_bytes")),
    )


def _run(plan: Plan, items: int, vectors: Path, folder: Path) -> Size:
    build = build_version(vectors, folder, {"space": "l2", "shard_items": plan.shard_items}, plan.threads, plan.program)
    peaks, version = build.finished.peaks, build.version
    return Size(
        items,
        len(version.manifest["row_ranges"]),
        build.finished.seconds,
        version.seconds("graph_seconds"),
        build.finished.cpu_seconds,
        peaks.worker_rss,
        peaks.worker_pss,
        peaks.main_rss,
        peaks.main_pss,
        version.index.stat().st_size,
    )


def warm_up(plan: Plan, folder: Path) -> None:
    """One small run, so that compiling the kernels counts for no size."""
    path = folder / "few.npy"
    np.save(path, clustered(_WARM_UP_ITEMS, DIMENSIONS["clustered"], 20, plan.seed))
    build_version(path, folder / "warm-up", {"space": "l2", "shards": 4}, plan.threads, plan.program)


def sizes_table(sizes: Sequence[Size]) -> str:
    """One row a size."""
    headers = ["items", "shards", "command s", "graph s", "CPU s", "graph us an item", "growth", "CPU us an item"]
    headers += ["growth", "worker RSS / PSS MiB", "started process RSS / PSS MiB", "index MiB"]
    rows = []
    for size in sizes:
        graph, cpu = size.graph_microseconds, size.cpu_microseconds
        rows.append(
            [
                shown(size.items),
                shown(size.shards),
                shown(size.command_seconds, 1),
                shown(size.graph_seconds, 1),
                shown(size.cpu_seconds, 1),
                shown(graph, 1),
                percent(growth(sizes[0].graph_microseconds, graph)),
                shown(cpu, 1),
                percent(growth(sizes[0].cpu_microseconds, cpu)),
                f"{mebibytes(size.worker_rss)} / {mebibytes(size.worker_pss)}",
                f"{mebibytes(size.main_rss)} / {mebibytes(size.main_pss)}",
                mebibytes(size.file_bytes),
            ]
        )
    return markdown_table(headers, rows)


def percent(share: float | None) -> str:
    """A growth with its sign."""
    return "-" if share is None else f"{100 * share:+.0f} %"


def verdicts(sizes: Sequence[Size]) -> dict[str, bool | None]:
    """Whether the cost of an item and the memory of a worker stay; null where it was not measured."""
    return {
        f"graph of an item grows by at most {100 * COST_GROWTH:.0f} %": within(
            [size.graph_microseconds for size in sizes], COST_GROWTH
        ),
        f"largest worker grows by at most {100 * MEMORY_GROWTH:.0f} %": within(
            [size.worker_rss or None for size in sizes], MEMORY_GROWTH
        ),
    }


def verdict(kept: bool | None) -> str:
    """met, missed or not measured."""
    return "not measured" if kept is None else "met" if kept else "missed"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Cost of an item and memory of a worker as the catalog grows.")
    parser.add_argument("--kind", choices=tuple(_DEFAULTS), default="growth", help="the index alone, or every stage")
    parser.add_argument("--sizes", help="numbers of items, smallest first")
    parser.add_argument("--shard-items", type=int, help="index.shard_items at every size")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each size")
    parser.add_argument("--threads", type=int, default=2, help="worker processes")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors")
    parser.add_argument("--workdir", type=Path, default=Path("work/benchmarks"), help="for the files of a run")
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args(argv)
    sizes, shard_items = _DEFAULTS[given.kind]
    given.sizes, given.shard_items = given.sizes or sizes, given.shard_items or shard_items
    return given


def run(plan: Plan, workdir: Path) -> list[Size]:
    """Measures every size."""
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workdir) as folder:
        warm_up(plan, Path(folder))
        return [measure_size(plan, items, Path(folder)) for items in plan.sizes]


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    given = parse(argv)
    if given.kind == "stages":
        return run_stages(given)
    plan = Plan(
        tuple(sorted(int(size) for size in given.sizes.split(","))),
        given.shard_items,
        given.rounds,
        given.threads,
        given.seed,
    )
    sizes, machine = run(plan, given.workdir), describe_machine()
    section(f"clustered x {DIMENSIONS['clustered']}, shard_items {plan.shard_items:,}", machine_line(machine))
    section("Sizes", sizes_table(sizes))
    found = verdicts(sizes)
    section("Verdict", *(f"- {name}: {verdict(kept)}" for name, kept in found.items()))
    figures = {"machine": machine, "plan": asdict(plan), "sizes": [asdict(s) for s in sizes], "verdicts": found}
    return write_json(given.json, figures)


def run_stages(given: argparse.Namespace) -> None:
    """Fits the cost model and tries it."""
    given.workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.workdir) as folder:
        costs = stage_costs.measure(given, Path(folder))
    machine, found = describe_machine(), stage_costs.verdicts(costs)
    section(f"Stages, shard_items {given.shard_items:,}", machine_line(machine), "", stage_costs.model_table(costs))
    section("Predicted and measured", stage_costs.trial_table(costs))
    section("Carried on", stage_costs.carried_table(costs), "", stage_costs.sizes_table())
    section("Verdict", *(f"- {name}: {verdict(kept)}" for name, kept in found.items()))
    write_json(given.json, {"machine": machine, **stage_costs.figures_of(costs), "verdicts": found})


if __name__ == "__main__":
    main(sys.argv[1:])
