"""Ruiji beside NMSLIB in one go, hnswlib and FAISS HNSW: seconds, memory, size, recall and speed of the same vectors.

    make benchmark-deps
    .venv/bin/python -m benchmarks.index --data glove --shards 16,32 --json work/benchmarks/glove.json
    .venv/bin/python -m benchmarks.index --data glove --shards 64
    .venv/bin/python -m benchmarks.index --data clustered --items 1000000 --shards 32,64
    .venv/bin/python -m benchmarks.index --data lognormal --items 300000 --space inner_product
    .venv/bin/python -m benchmarks.index --data tiny --rounds 1               # does it run at all

Ruiji is the real command, `ruiji index --embeddings x.npy`, started as a user starts it, with Beam's local runner and
as many worker processes as the peers have threads; its file is opened by stock NMSLIB. Each peer is built by a process
of its own. All have M = 16 and efConstruction = 100; unit vectors are compared by `l2`.

Builds: each round builds every system once, in an order that turns from round to round; medians and all values are
shown. "graph" is, of Ruiji, from the first vector read to index.hnsw written, and of a peer its library's build alone,
without reading and writing (those are in "read to written"). "command" is the whole process from outside: of Ruiji
also start of Python and Beam, measuring of recall, and publishing. A small run before the first round compiles Ruiji's
kernels, which are then cached, as they are for a user from the second run on; its seconds are printed.

Memory: the kernel's peak of resident bytes of the largest SDK worker (of a peer: its process), of the process that was
started, and the peak of the summed proportional sizes of all processes, see `benchmarks/processes.py`. The vectors, the
libraries and the interpreter are counted in all of them.

Queries: held out, in one batch on one thread; the systems take turns, median of three passes, then of the rounds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.comparison import (
    BuildFigures,
    Figures,
    better,
    builds_table,
    equal_recall_table,
    parts_table,
    queries_table,
)
from benchmarks.curves import Curve, Truth, find_truth, measure_curves
from benchmarks.data import Data, add_data_arguments, make_data
from benchmarks.peers import PEERS, Recipe, Searcher, missing_peers, open_peer
from benchmarks.processes import run_measured
from benchmarks.ruiji import PROGRAM, build_version, open_ruiji
from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json
from benchmarks.targets import MANY_SHARDS, Target, evaluate_targets, many_shards_target, target_row

AUTO = "auto"
WARM_UP_ITEMS = 2_000


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        recipe: of all systems.
        shards: of each of Ruiji's builds; auto leaves it to the command's default shard_items.
        peers: names.
        settings: further keys of Ruiji's section `index`.
        program: what stands before `index` on Ruiji's command line.
    """

    recipe: Recipe
    shards: tuple[str, ...]
    peers: tuple[str, ...]
    rounds: int
    settings: Mapping[str, str]
    program: Sequence[str] = PROGRAM

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of all, Ruiji first."""
        return (*(our_name(count) for count in self.shards), *self.peers)

    def index_settings(self, system: str) -> dict[str, object]:
        """Keys of the section `index` for one of Ruiji's builds."""
        recipe, count = self.recipe, self.shards[self.systems.index(system)]
        fixed = {"space": recipe.space, "m": recipe.m, "ef_construction": recipe.ef_construction}
        return {**fixed, **({} if count == AUTO else {"shards": int(count)}), **self.settings}


@dataclass(frozen=True)
class Built:
    """A build and how it is searched."""

    figures: BuildFigures
    searcher: Searcher


def our_name(shards: str) -> str:
    """Name of Ruiji's build in the tables."""
    return "ruiji" if shards == AUTO else f"ruiji, {shards} shards"


def turned(systems: Sequence[str], number: int) -> list[str]:
    """The order of a round: each begins with another system."""
    start = number % len(systems)
    return [*systems[start:], *systems[:start]]


def run_rounds(plan: Plan, data: Data, folder: Path) -> Figures:
    """Builds all systems and searches them, round after round; nothing is left in `folder`."""
    vectors = folder / "items.npy"
    np.save(vectors, data.items)
    notify("comparing every query with every item")
    truth = find_truth(data.items, data.queries, plan.recipe.space)
    builds: dict[str, list[BuildFigures]] = {name: [] for name in plan.systems}
    curves: dict[str, list[Curve]] = {name: [] for name in plan.systems}
    for number in range(plan.rounds):
        with tempfile.TemporaryDirectory(dir=folder) as round_folder:
            built = _build_all(plan, number, vectors, data.items.shape[1], Path(round_folder))
            found = _search_all(plan, built, truth)
        for name in plan.systems:
            builds[name].append(built[name].figures)
            curves[name].append(found[name])
    return Figures(builds, curves)


def _build_all(plan: Plan, number: int, vectors: Path, dimension: int, folder: Path) -> dict[str, Built]:
    built = {}
    for name in turned(plan.systems, number):
        build = _build_peer if name in plan.peers else _build_ruiji
        built[name] = build(plan, name, vectors, dimension, folder)
        figures = built[name].figures
        seconds = f"graph {shown(figures.graph_seconds, 1)} s, command {figures.command_seconds:.1f} s"
        notify(f"round {number + 1} of {plan.rounds}: {name}: {seconds}")
    return built


def _search_all(plan: Plan, built: Mapping[str, Built], truth: Truth) -> dict[str, Curve]:
    notify("searching")
    return measure_curves({name: built[name].searcher for name in plan.systems}, truth)


def _build_ruiji(plan: Plan, name: str, vectors: Path, dimension: int, folder: Path) -> Built:
    load = os.getloadavg()[0]
    place = folder / f"ruiji-{plan.systems.index(name)}"
    build = build_version(vectors, place, plan.index_settings(name), plan.recipe.threads, plan.program)
    finished, version = build.finished, build.version
    graph = version.seconds("graph_seconds")
    figures = BuildFigures(
        graph,
        graph,
        finished.seconds,
        finished.cpu_seconds,
        {key: value for key, value in version.timings.items() if key.endswith("_seconds")},
        finished.peaks.worker_rss or finished.peaks.main_rss,
        finished.peaks.main_rss,
        finished.peaks.all_pss,
        version.index.stat().st_size,
        load,
        version.folder.name,
    )
    return Built(figures, open_ruiji(version, plan.recipe.space))


def _build_peer(plan: Plan, name: str, vectors: Path, dimension: int, folder: Path) -> Built:
    load, recipe, path = os.getloadavg()[0], plan.recipe, folder / name
    command = [sys.executable, "-m", "benchmarks.peers", name, "--vectors", str(vectors), "--output", str(path)]
    command += ["--space", recipe.space, "--m", str(recipe.m), "--ef-construction", str(recipe.ef_construction)]
    finished = run_measured([*command, "--threads", str(recipe.threads)])
    seconds = json.loads(finished.output.splitlines()[-1])
    figures = BuildFigures(
        seconds["build_seconds"],
        seconds["whole_seconds"],
        finished.seconds,
        finished.cpu_seconds,
        {},
        finished.peaks.main_rss,
        finished.peaks.main_rss,
        finished.peaks.all_pss,
        path.stat().st_size,
        load,
    )
    return Built(figures, open_peer(name, path, recipe.space, dimension))


def warm_up(plan: Plan, data: Data, folder: Path) -> float:
    """Runs each of Ruiji's builds on a few vectors, so that its kernels are compiled; gives the seconds."""
    began = time.perf_counter()
    path = folder / "few.npy"
    np.save(path, data.items[:WARM_UP_ITEMS])
    system = plan.systems[0]
    settings = {**plan.index_settings(system), "shards": 4}
    build_version(path, folder / "warm-up", settings, plan.recipe.threads, plan.program)
    return time.perf_counter() - began


def run_targets(plan: Plan, data: Data, figures: Figures) -> list[Target]:
    """The targets for the better of Ruiji's builds, and that of 64 shards where they were built."""
    ours = plan.systems[: len(plan.shards)]
    peers = {name: figures.system(name) for name in plan.peers}
    best = figures.system(better(figures, ours))
    targets = evaluate_targets(data.name, plan.recipe.space, best, peers)
    many = our_name(str(MANY_SHARDS))
    return [*targets, many_shards_target(figures.system(many), peers["nmslib"])] if many in ours else targets


def report(plan: Plan, data: Data, figures: Figures, warm_up_seconds: float) -> list[Target]:
    """Prints all tables."""
    ours, machine = plan.systems[: len(plan.shards)], describe_machine()
    size = f"{len(data.items):,} x {data.items.shape[1]} {data.name}, {plan.recipe.space}"
    section(size, machine_line(machine), f"\nFirst small run of Ruiji: {warm_up_seconds:.1f} s.")
    section("Builds", builds_table(figures, plan.systems))
    section("Parts of the command", parts_table(figures, ours))
    section(f"{len(data.queries):,} queries", queries_table(figures, plan.systems))
    section("Equal recall", equal_recall_table(figures, plan.systems))
    targets = run_targets(plan, data, figures)
    rows = [target_row(target) for target in targets]
    section(f"Targets: {better(figures, ours)}", markdown_table(["target", "value", "bound", "verdict"], rows))
    return targets


def all_figures(
    plan: Plan, data: Data, figures: Figures, targets: Sequence[Target], warm_up_seconds: float
) -> dict[str, object]:
    """What --json writes."""
    return {
        "data": {"name": data.name, "items": len(data.items), "dimension": data.items.shape[1]},
        "queries": len(data.queries),
        "machine": describe_machine(),
        "recipe": asdict(plan.recipe),
        "settings": dict(plan.settings),
        "warm_up_seconds": warm_up_seconds,
        "better": better(figures, plan.systems[: len(plan.shards)]),
        "builds": {name: [asdict(b) for b in builds] for name, builds in figures.builds.items()},
        "curves": {name: [[asdict(p) for p in c] for c in curves] for name, curves in figures.curves.items()},
        "targets": [{**asdict(t), "verdict": t.verdict} for t in targets],
    }


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Ruiji beside NMSLIB, hnswlib and FAISS HNSW.")
    add_data_arguments(parser, queries=2_000)
    parser.add_argument("--seed", type=int, default=0, help="of the vectors, or of what is held out")
    parser.add_argument("--space", choices=("l2", "inner_product"), default="l2")
    parser.add_argument("--shards", default=AUTO, help="of Ruiji's builds, as in 16,32; auto: the command's default")
    parser.add_argument("--peers", default=",".join(PEERS), help="beside Ruiji; nmslib is always among them")
    parser.add_argument("--rounds", type=int, default=3, help="builds of each system")
    parser.add_argument("--threads", type=int, default=2, help="of the peers, and worker processes of Ruiji")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further keys of index")
    parser.add_argument("--workdir", type=Path, default=Path("work/benchmarks"), help="for the files of a run")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args(argv)


def plan_of(given: argparse.Namespace) -> Plan:
    """The plan that the flags ask for.

    Raises:
        SystemExit: a flag that cannot be, or a peer that is not installed.
    """
    chosen = {"nmslib", *given.peers.split(",")} - {""}
    if not chosen <= set(PEERS):
        raise SystemExit(f"--peers: found {given.peers!r}; some of {', '.join(PEERS)} are expected")
    shards = tuple(given.shards.split(","))
    if not all(count == AUTO or (count.isdigit() and int(count)) for count in shards):
        raise SystemExit(
            f"--shards: found {given.shards!r}; numbers above 0 with commas between, or auto, are expected"
        )
    settings = dict(pair.removeprefix("index.").partition("=")[::2] for pair in given.set)
    peers = tuple(name for name in PEERS if name in chosen)
    if missing_peers(peers):
        raise SystemExit(
            f"not installed: {', '.join(missing_peers(peers))}; run `make benchmark-deps`, or name --peers"
        )
    return Plan(Recipe(given.space, threads=given.threads), shards, peers, given.rounds, settings)


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    given = parse(argv)
    plan = plan_of(given)
    data = make_data(given.data, given.items, given.queries, given.seed)
    given.workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.workdir) as folder:
        warm_up_seconds = warm_up(plan, data, Path(folder))
        figures = run_rounds(plan, data, Path(folder))
    targets = report(plan, data, figures, warm_up_seconds)
    write_json(given.json, all_figures(plan, data, figures, targets, warm_up_seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
