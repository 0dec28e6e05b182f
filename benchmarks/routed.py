"""What a routed version finds, how fast, and in how much memory, as more shards are probed.

    .venv/bin/ruiji index --embeddings x.npy --store work/routed --set index.layout=routed --set search.probe=16
    .venv/bin/python -m benchmarks.routed --store work/routed --queries q.npy --memory-budget-mib 64
    .venv/bin/python -m benchmarks.routed --store work/routed --queries q.npy --json work/benchmarks/routed.json

Exact answers are computed in the same run, shard by shard. Each probe is measured in a process of its own: `first` is
one batch of all queries while no shard is open yet, `again` the same batch once more, `single` the first queries one
after the other, as a service gets them. Memory is the peak of the resident set over what the process held before it
opened the version, with its libraries and queries loaded.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json
from sim_transforms.hnsw.file_format import read_index
from sim_transforms.hnsw.open_index import routed_index
from sim_transforms.hnsw.routed import keep_nearest, route
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.quality.exact import exact_neighbors
from sim_transforms.quality.recall import recall_interval

Array = np.ndarray[Any, Any]

K = 10
SINGLE_QUERIES = 200
MIB = 2**20


@dataclass(frozen=True)
class Plan:
    """What is asked of which version; `budget_mib` null for no limit."""

    store: str
    version: str
    queries: Path
    ef_search: int
    budget_mib: int | None


@dataclass(frozen=True)
class Point:
    """One probe.

    Attributes:
        first_qps, again_qps, single_qps: queries a second, see the module.
        peak_mib: of the resident set, over what was held before.
    """

    probe: int
    recall_10: float
    first_qps: float
    again_qps: float
    single_qps: float
    peak_mib: float


def exact_distances(version: OpenVersion, queries: Array) -> Array:
    """[q, 10] float32 distances of the exact neighbours, one shard in memory at a time."""
    space = version.manifest.space
    rows = np.full((len(queries), K), -1, np.int32)
    distances = np.full((len(queries), K), np.inf, np.float32)
    for shard in routed_index(version.folder, version.manifest).shards:
        vectors = np.ascontiguousarray(read_index(shard.path).records["vector"])
        found, native = exact_neighbors(queries, vectors, min(K, len(vectors)), space)
        rows, distances = keep_nearest(rows, distances, (found + shard.first_row).astype(np.int32), native)
    return space_of(space).to_distances(distances)


def measure(plan: Plan, probe: int, exact: Array) -> Point:
    """Runs in a process of its own."""
    queries = np.load(plan.queries).astype(np.float32)
    _load_libraries(queries)
    before = _reset_peak()
    version = open_version(plan.store, plan.version, probe, plan.budget_mib)
    began = time.perf_counter()
    _, found = version.search_rows(queries, K, plan.ef_search)
    first = len(queries) / (time.perf_counter() - began)
    began = time.perf_counter()
    version.search_rows(queries, K, plan.ef_search)
    again = len(queries) / (time.perf_counter() - began)
    single = queries[:SINGLE_QUERIES]
    began = time.perf_counter()
    for query in single:
        version.search(query[None], K, plan.ef_search)
    seconds = time.perf_counter() - began
    recall = recall_interval(found, exact, K, plan.ef_search).recall
    return Point(probe, recall, first, again, len(single) / seconds, _status_mib("VmHWM") - before)


def _load_libraries(queries: Array) -> None:
    """The compiled kernel, and pyarrow's kernels, which take some 40 MiB with their first use."""
    route(queries[:1], queries[:1], 1, False)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"row": [0]}), Path(folder) / "items.parquet")
        pq.read_table(Path(folder) / "items.parquet").take(pa.array([0])).to_pylist()


def _reset_peak() -> float:
    """MiB that are resident now; the peak starts from here (Linux, proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mib("VmRSS")


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def points_table(points: Sequence[Point]) -> str:
    """A line for each probe."""
    headers = ("probe", "recall@10", "first q/s", "again q/s", "single q/s", "peak MiB")
    rows = [
        (
            shown(p.probe),
            shown(p.recall_10, 4),
            shown(p.first_qps),
            shown(p.again_qps),
            shown(p.single_qps),
            shown(p.peak_mib, 1),
        )
        for p in points
    ]
    return markdown_table(headers, rows)


def main(argv: Sequence[str]) -> None:
    arguments = _parser().parse_args(argv)
    version = open_version(arguments.store, arguments.version, memory_budget_mib=arguments.memory_budget_mib)
    if version.manifest.index is not None:
        raise SystemExit(f"version {version.version} is of layout merged; one of layout routed is expected")
    queries, manifest = np.load(arguments.queries).astype(np.float32), version.manifest
    ef_search = arguments.ef_search or manifest.ef_search
    plan = Plan(arguments.store, version.version, arguments.queries, ef_search, arguments.memory_budget_mib)
    notify("exact answers")
    exact = exact_distances(version, queries)
    points = []
    # A fresh interpreter each: memory that one probe took must not count for the next.
    context = multiprocessing.get_context("spawn")
    for probe in arguments.probes:
        notify(f"probe {probe}")
        with context.Pool(1) as pool:
            points.append(pool.apply(measure, (plan, probe, exact)))
    shards, budget = len(manifest.shard_files), arguments.memory_budget_mib
    facts = f"{manifest.items:,} items of dimension {manifest.dimension} in {shards} shards, {manifest.space}"
    sizes = f"{manifest.index_bytes / MIB:,.1f} MiB of shard files, budget {budget or 'none'}, ef_search {ef_search}"
    machine = describe_machine()
    section("Routed search", machine_line(machine), "", f"{facts}; {len(queries):,} queries; {sizes}.", "")
    print(points_table(points))
    asked = {"items": manifest.items, "shards": shards, "budget_mib": budget, "ef_search": ef_search}
    figures = {"machine": machine, **asked, "version": version.version, "points": [asdict(p) for p in points]}
    write_json(arguments.json, figures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.routed", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--store", required=True, help="store with a published version of layout routed")
    parser.add_argument("--version", help="version id (default: LATEST)")
    parser.add_argument("--queries", type=Path, required=True, help=".npy file of [q, dim] vectors")
    parser.add_argument("--probes", type=_numbers, default=(1, 2, 4, 8, 16), help="such as 1,2,4 (default: 1,2,4,8,16)")
    parser.add_argument("--memory-budget-mib", type=int, help="MiB of shards open at once (default: no limit)")
    parser.add_argument("--ef-search", type=int, help="search width in each shard (default: the version's)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main(sys.argv[1:])
