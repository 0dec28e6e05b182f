"""The two builders of a shard beside each other at several dimensions: `products` and `insertion`.

    .venv/bin/python -m benchmarks.builders --json work/benchmarks/builders.json
    .venv/bin/python -m benchmarks.builders --data glove --items 100000
    .venv/bin/python -m benchmarks.builders --dimensions 128,512 --items 50000 --rounds 3
    .venv/bin/python -m benchmarks.builders --dimensions 16 --items 2000 --rounds 1    # does it run at all

Builds a whole index in this process with each builder (`sim_transforms.hnsw.whole.build_whole`), and with NMSLIB in one
go on one thread, in an order that turns from round to round; a small build first compiles the kernels. The vectors are
clusters whose variance falls from axis to axis as it does in learned embeddings (`benchmarks.data.spectral`), or GloVe.
Recall and speed as in `benchmarks/index.py`; the speeds at equal recall are read at the recall@10 that `insertion` has
at efSearch 100.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import SHOWN_EFS, Curve, find_truth, measure_curves, median_curve, point_at, speed_at_recall
from benchmarks.data import Data, glove, held_out, spectral
from benchmarks.peers import NmslibSearcher, Recipe, Searcher, build_peer
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
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]
BuildWhole = Callable[[Array, IndexSettings, Path], Array]

BUILDERS = ("products", "insertion")
NMSLIB = "nmslib, one thread"
SYSTEMS = (*BUILDERS, NMSLIB)
EF = 100
_CLUSTERS = 500
_WARM_UP_ITEMS = 2_000


@dataclass(frozen=True)
class Result:
    """All builds and curves on one set of vectors, by system, one a round."""

    name: str
    items: int
    dimension: int
    seconds: Mapping[str, Sequence[float]]
    curves: Mapping[str, Sequence[Curve]]


def compare(
    name: str, data: Data, settings: Mapping[str, Any], rounds: int, folder: Path, build_whole: BuildWhole
) -> Result:
    """Builds with every system in every round and searches what was built.

    Args:
        name: of the vectors, for the table.
        data: unit vectors and held-out queries.
        settings: keys of `IndexSettings` but for the builder.
        rounds: builds of each system.
        folder: for the files.
        build_whole: ([n, d] vectors, settings, path) -> [n] position of each row of the file.
    """
    truth = find_truth(data.items, data.queries, "l2")
    seconds: dict[str, list[float]] = {system: [] for system in SYSTEMS}
    curves: dict[str, list[Curve]] = {system: [] for system in SYSTEMS}
    for number in range(rounds):
        searchers = {}
        for system in (*SYSTEMS[number % 3 :], *SYSTEMS[: number % 3]):
            path = folder / f"{SYSTEMS.index(system)}.hnsw"
            taken, searchers[system] = build(system, data.items, settings, path, build_whole)
            seconds[system].append(taken)
            notify(f"{name}, round {number + 1} of {rounds}: {system} {taken:.1f} s")
        for system, curve in measure_curves({system: searchers[system] for system in SYSTEMS}, truth).items():
            curves[system].append(curve)
    return Result(name, len(data.items), data.items.shape[1], seconds, curves)


def build(
    system: str, vectors: Array, settings: Mapping[str, Any], path: Path, build_whole: BuildWhole
) -> tuple[float, Searcher]:
    """Seconds of one build with writing its file, and the file opened."""
    began = time.perf_counter()
    positions = None
    if system == NMSLIB:
        given = IndexSettings(**settings)
        build_peer("nmslib", vectors, Recipe("l2", given.m, given.ef_construction, threads=1), path)
    else:
        given = IndexSettings(**{**settings, "space": "l2", "builder": system})
        positions = build_whole(vectors, given, path)
    taken = time.perf_counter() - began
    return taken, NmslibSearcher(path, "l2", positions)


def results_table(results: Sequence[Result]) -> str:
    """One row for each set of vectors and system."""
    headers = ["vectors", "d", "system", "build s", "/ insertion", *(f"recall@10 at ef {ef}" for ef in SHOWN_EFS)]
    headers += ["at recall@10", "queries a second", "/ insertion"]
    return markdown_table(headers, [_row(result, system) for result in results for system in SYSTEMS])


def _row(result: Result, system: str) -> list[str]:
    curve, other = median_curve(result.curves[system]), median_curve(result.curves["insertion"])
    wanted = point_at(other, EF).recall_10
    speed, speed_other = speed_at_recall(curve, wanted), speed_at_recall(other, wanted)
    share = statistics.median(result.seconds[system]) / statistics.median(result.seconds["insertion"])
    return [
        f"{result.items:,} {result.name}",
        str(result.dimension),
        system,
        median_and_all(result.seconds[system]),
        shown(share, 2),
        *(shown(point_at(curve, ef).recall_10, 4) for ef in SHOWN_EFS),
        shown(wanted, 4),
        shown(speed),
        shown(speed / speed_other if speed is not None and speed_other else None, 3),
    ]


def vectors_of(name: str, dimension: int, items: int, queries: int, seed: int) -> Data:
    """GloVe, or `spectral` vectors of a dimension."""
    if name == "glove":
        return held_out(name, glove(), items, queries, seed)
    vectors = spectral(items + queries, dimension, _CLUSTERS, seed)
    return Data(name, vectors[:items], vectors[items:])


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The builders `products` and `insertion` beside each other.")
    parser.add_argument("--data", choices=("spectral", "glove"), default="spectral", help="which vectors")
    parser.add_argument("--dimensions", default="50,128,256,512", help="of spectral vectors")
    parser.add_argument("--items", type=int, default=50_000, help="vectors to index")
    parser.add_argument("--queries", type=int, default=1_000, help="vectors to search, which are not indexed")
    parser.add_argument("--shard-items", type=int, default=25_000, help="index.shard_items")
    parser.add_argument("--rounds", type=int, default=3, help="builds of each system")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args(argv)


def run(given: argparse.Namespace, build_whole: BuildWhole) -> list[Result]:
    """Compares at every dimension."""
    dimensions = [50] if given.data == "glove" else [int(dimension) for dimension in given.dimensions.split(",")]
    settings = {"shard_items": given.shard_items}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        few = spectral(_WARM_UP_ITEMS, 16, 20, given.seed)
        for system in BUILDERS:
            build(system, few, {"shard_items": _WARM_UP_ITEMS // 4}, Path(folder) / "few.hnsw", build_whole)
        for dimension in dimensions:
            data = vectors_of(given.data, dimension, given.items, given.queries, given.seed)
            results.append(compare(given.data, data, settings, given.rounds, Path(folder), build_whole))
    return results


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    from sim_transforms.hnsw.whole import build_whole

    given = parse(argv)
    results, machine = run(given, build_whole), describe_machine()
    section(f"Builders, shard_items {given.shard_items:,}", machine_line(machine), "", results_table(results))
    write_json(given.json, {"machine": machine, "results": [asdict(result) for result in results]})


if __name__ == "__main__":
    main(sys.argv[1:])
