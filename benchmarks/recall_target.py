"""Whether a version keeps its recall on queries that its build never saw.

    make benchmark-deps
    .venv/bin/python -m benchmarks.recall_target --data glove --target 0.99 --json work/benchmarks/recall-glove.json
    .venv/bin/python -m benchmarks.recall_target --data clustered --items 300000
    .venv/bin/python -m benchmarks.recall_target --data tiny --seeds 0                 # does it run at all

The real command builds with `--set index.recall_target=TARGET` on the vectors without 1,000 held-out ones. It chooses
ef_search by items that it samples out of the catalog; here recall@10 is measured at that ef_search on the held-out
vectors, against exact search. Each seed holds out others. Met: the recall on the held-out queries reaches the target;
the interval (95 %) says how far 1,000 queries can tell.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.curves import K, distances_of, find_truth
from benchmarks.data import Data, add_data_arguments, make_data
from benchmarks.ruiji import PROGRAM, Version, build_version, open_ruiji
from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json
from sim_transforms.quality.recall import recall_interval


@dataclass(frozen=True)
class Outcome:
    """One build.

    Attributes:
        promised: recall@10 that the manifest states, of items sampled from the catalog.
        recall, low, high: recall@10 of the held-out queries at `ef_search` with its interval.
    """

    seed: int
    ef_search: int
    promised: float
    recall: float
    low: float
    high: float
    queries: int

    def is_met(self, target: float) -> bool:
        """Whether the held-out queries reach the target."""
        return self.recall >= target


@dataclass(frozen=True)
class Plan:
    """What is run; `program` stands before `index` on the command line."""

    target: float
    space: str
    threads: int
    program: Sequence[str] = PROGRAM


def measure(plan: Plan, data: Data, seed: int, folder: Path) -> Outcome:
    """Builds one version in the new folder `folder` and searches what it never saw."""
    folder.mkdir(parents=True)
    path = folder / "items.npy"
    np.save(path, data.items)
    settings = {"space": plan.space, "recall_target": plan.target}
    version = build_version(path, folder / "run", settings, plan.threads, plan.program).version
    return judge(version, data, plan.space, seed)


def judge(version: Version, data: Data, space: str, seed: int) -> Outcome:
    """Measures a version at its own ef_search on the queries of `data`."""
    truth, ef = find_truth(data.items, data.queries, space), int(version.manifest["ef_search"])
    searcher = open_ruiji(version, space)
    rows = searcher.rows(searcher.answers(data.queries, K, ef))
    hits = distances_of(data.items, data.queries, rows, truth.inner_product) <= truth.distances[:, -1:]
    # As distances without a tolerance: 0 is a hit, infinity none.
    measured = recall_interval(np.where(hits, 0.0, np.inf), np.zeros_like(truth.distances), K, ef)
    (promised,) = (r["recall"] for r in version.manifest["recall"] if r["k"] == K)
    return Outcome(seed, ef, promised, measured.recall, measured.low, measured.high, measured.queries)


def outcomes_table(outcomes: Sequence[Outcome], target: float) -> str:
    """One row a build."""
    headers = ["seed", "ef_search", "manifest's recall@10", "held-out recall@10", "95 % interval", "verdict"]
    rows = [
        [
            str(outcome.seed),
            str(outcome.ef_search),
            shown(outcome.promised, 4),
            shown(outcome.recall, 4),
            f"{outcome.low:.4f} to {outcome.high:.4f}",
            "met" if outcome.is_met(target) else "missed",
        ]
        for outcome in outcomes
    ]
    return markdown_table(headers, rows)


def summary(outcomes: Sequence[Outcome], target: float) -> str:
    """The verdict in one line."""
    met = sum(outcome.is_met(target) for outcome in outcomes)
    middle = statistics.median(outcome.recall for outcome in outcomes)
    return f"target {target}: met by {met} of {len(outcomes)} builds, median recall@10 {middle:.4f}"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The recall target on queries that the build never saw.")
    add_data_arguments(parser, queries=1_000)
    parser.add_argument("--target", type=float, default=0.99, help="index.recall_target")
    parser.add_argument("--seeds", default="0,1,2", help="a build for each; each holds out other vectors")
    parser.add_argument("--space", choices=("l2", "inner_product"), default="l2")
    parser.add_argument("--threads", type=int, default=2, help="worker processes")
    parser.add_argument("--workdir", type=Path, default=Path("work/benchmarks"), help="for the files of a run")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args(argv)


def run(given: argparse.Namespace, plan: Plan) -> list[Outcome]:
    """Builds and measures once a seed."""
    outcomes = []
    given.workdir.mkdir(parents=True, exist_ok=True)
    for seed in (int(seed) for seed in given.seeds.split(",")):
        data = make_data(given.data, given.items, given.queries, seed)
        with tempfile.TemporaryDirectory(dir=given.workdir) as folder:
            outcomes.append(measure(plan, data, seed, Path(folder) / "seed"))
        notify(f"seed {seed}: recall@10 {outcomes[-1].recall:.4f} at ef_search {outcomes[-1].ef_search}")
    return outcomes


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    given = parse(argv)
    plan = Plan(given.target, given.space, given.threads)
    outcomes, machine = run(given, plan), describe_machine()
    section(f"recall_target {plan.target} on {given.data}", machine_line(machine), "")
    print(outcomes_table(outcomes, plan.target))
    print(f"\n{summary(outcomes, plan.target)}")
    write_json(given.json, {"machine": machine, "target": plan.target, "outcomes": [asdict(o) for o in outcomes]})


if __name__ == "__main__":
    main(sys.argv[1:])
