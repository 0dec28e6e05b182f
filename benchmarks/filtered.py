"""Search under conditions: recall@10 and speed, as fewer items meet the condition, near the query or far from it.

    .venv/bin/python -m benchmarks.filtered --json work/benchmarks/filtered.json
    .venv/bin/python -m benchmarks.filtered --data tiny --queries 50          # does it run

Each item has a number drawn at random (`even`), and its place along one direction of space as a share (`side`).
Conditions `even < s` keep a share s of the items, wherever they lie; `side < s` those at one end, for queries that lie
at the other, which is the worst that a graph can be asked. Recall is against comparing with all items that meet the
condition; "alone" is the search without one. "compared" says how many of the queries were answered by comparing, which
is exact.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import Array, add_data_arguments, make_data
from benchmarks.ruiji import build_version
from benchmarks.tables import describe_machine, machine_line, markdown_table, section, shown, write_json
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.records.batches import column_of

K = 10
SHARES = (0.5, 0.2, 0.1, 0.05, 0.01, 0.001)


@dataclass(frozen=True)
class Point:
    """One condition.

    Attributes:
        recall: mean of the queries; share of the exact ten that are found.
        queries_per_second: one query at a time, one thread.
        compared: queries that were answered by comparing with all items that meet the condition.
    """

    condition: str
    items: int
    recall: float
    queries_per_second: float
    compared: int


def write_items(vectors: Array, direction: Array, path: Path, seed: int) -> dict[str, Array]:
    """Writes the items with both columns, and gives these."""
    count = len(vectors)
    side = np.empty(count)
    side[np.argsort(vectors @ direction, kind="stable")] = (np.arange(count) + 0.5) / count
    columns = {"even": np.random.default_rng([seed, 1]).random(count), "side": side}
    ids = [str(number) for number in range(count)]
    pq.write_table(pa.table({"item_id": ids, "embedding": column_of(vectors), **columns}), path)
    return columns


def measure(opened: OpenVersion, queries: Array, items: Array, keep: Array | None, condition: str) -> Point:
    """Searches one query after the other."""
    compared = 0
    real = opened._compare_all

    def counting(k: int, rows: Array, queries: Array) -> tuple[Array, Array]:
        nonlocal compared
        compared += len(queries)
        return real(k, rows, queries)

    opened._compare_all = counting  # type: ignore[method-assign]
    where = condition or None
    opened.search(queries[:1], K, where=where)
    compared, found = 0, []
    began = time.perf_counter()
    for query in queries:
        found.append([int(match.item_id) for match in opened.search(query[None], K, where=where)[0]])
    seconds = time.perf_counter() - began
    del opened._compare_all
    numbers = np.arange(len(items)) if keep is None else np.flatnonzero(keep)
    exact, _ = exact_neighbors(queries, items[numbers], K, "cosine")
    expected = [set(numbers[row].tolist()) for row in exact]
    recall = float(np.mean([len(e & set(f)) / len(e) for e, f in zip(expected, found, strict=True)]))
    return Point(condition or "alone", len(numbers), recall, len(queries) / seconds, compared)


def main(argv: Sequence[str]) -> None:
    given = _parser().parse_args(argv)
    data = make_data(given.data, given.items, 20 * given.queries, given.seed)
    direction = np.random.default_rng([given.seed, 2]).standard_normal(data.items.shape[1]).astype(np.float32)
    along = np.argsort(data.queries @ direction)
    # Of twenty times as many those at the far end; for the others any.
    far, anywhere = data.queries[along[-given.queries :]], data.queries[: given.queries]
    with tempfile.TemporaryDirectory(prefix="ruiji-filtered-") as place:
        columns = write_items(data.items, direction, Path(place) / "items.parquet", given.seed)
        build_version(Path(place) / "items.parquet", Path(place) / "build", {}, given.threads)
        opened = open_version(str(Path(place) / "build" / "store"))
        points = [measure(opened, anywhere, data.items, None, "")]
        for name, queries in (("even", anywhere), ("side", far)):
            for share in SHARES:
                keep = columns[name] < share
                points.append(measure(opened, queries, data.items, keep, f"{name} < {share}"))
    machine = describe_machine()
    facts = f"{data.name}: {len(data.items):,} items of dimension {data.items.shape[1]}, {given.queries} queries, k {K}"
    section("Search under conditions", machine_line(machine), "", facts, "")
    rows = [
        [
            p.condition,
            shown(p.items),
            f"{p.recall:.4f}",
            shown(p.queries_per_second),
            f"{p.compared / given.queries:.0%}",
        ]
        for p in points
    ]
    print(markdown_table(["condition", "items that meet it", "recall@10", "queries a second", "compared"], rows))
    write_json(given.json, {"machine": machine, "points": [asdict(point) for point in points]})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, 500)
    parser.add_argument("--threads", type=int, default=2, help="worker processes of the build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
