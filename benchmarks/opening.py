"""Opening a version and answering one query at a time, beside bare NMSLIB with the same file.

    .venv/bin/python -m benchmarks.opening --data clustered --items 1000000
    .venv/bin/python -m benchmarks.opening --data tiny --queries 100          # does it run

Each opening is a process of its own, bare and Ruiji in turns, the file in the page cache of both. "open" begins after
the imports: of NMSLIB it is `loadIndex` alone; of Ruiji it is `open_version`, which compares all files with the
checksums of the manifest, and its first answer. "one query" is the median of single queries on one thread, asked of
both by turns of 250 in the process that has opened the version, each with the index in memory of its own; the first
half does not count. (In processes of their own, one is a third slower than the next by the luck of its memory.) Ruiji's
answer is a `Match` with id, distance and metadata, NMSLIB's are row numbers and distances. Both search at the ef of the
manifest, and must give the same distances: it is the same graph.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import add_data_arguments, make_data
from benchmarks.ruiji import build_version
from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json

Array = np.ndarray[Any, Any]

K = 10
# Queries that are asked of one before the other is asked.
TURN = 250
# Bounds, as multiples of bare NMSLIB.
MOST_OPENING, MOST_QUERY = 3.0, 1.3
_KINDS = ("nmslib", "ruiji")


def _open_nmslib(store: Path) -> Any:
    """Bare NMSLIB: what a user of stock nmslib writes."""
    import nmslib

    folder = store / "versions" / (store / "LATEST").read_text().strip()
    index = nmslib.init(method="hnsw", space="l2")
    index.loadIndex(str(folder / "index.hnsw"), load_data=False)
    index.setQueryTimeParams({"efSearch": json.loads((folder / "manifest.json").read_text())["ef_search"]})
    return index


def _nmslib(store: Path, queries: Array) -> dict[str, Any]:
    import nmslib  # noqa: F401

    began = time.perf_counter()
    _open_nmslib(store)
    return {"open": time.perf_counter() - began}


def _ruiji(store: Path, queries: Array) -> dict[str, Any]:
    """The look-up, its first answer part of opening; then single queries of both."""
    from sim_transforms.lookup.open import open_version

    began = time.perf_counter()
    version = open_version(str(store))
    version.search(queries[:1], K)
    opened = time.perf_counter() - began
    index = _open_nmslib(store)

    def ask_ruiji(query: Array) -> list[float]:
        return [match.distance for match in version.search(query[None], K)[0]]

    def ask_nmslib(query: Array) -> list[float]:
        return [distance / 2 for distance in index.knnQuery(query, k=K)[1].tolist()]

    asked = {"nmslib": ask_nmslib, "ruiji": ask_ruiji}
    seconds: dict[str, list[float]] = {kind: [] for kind in asked}
    last: dict[str, list[float]] = {}
    for first in range(0, len(queries), TURN):
        for kind, ask in asked.items():
            for query in queries[first : first + TURN]:
                began = time.perf_counter()
                last[kind] = ask(query)
                seconds[kind].append(time.perf_counter() - began)
    counted = {kind: found[len(found) // 2 :] for kind, found in seconds.items()}
    figures = {kind: {"p50": statistics.median(s), "p99": float(np.quantile(s, 0.99))} for kind, s in counted.items()}
    return {"open": opened, "queries": figures, "last": last}


def _child(kind: str, store: Path, queries: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.opening", "--child", kind, str(store), str(queries)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    asked = "".join(f", one query of {k} {q['p50'] * 1e6:.0f} us" for k, q in found.get("queries", {}).items())
    notify(f"{kind}: open {found['open']:.3f} s{asked}")
    return found


def main(argv: list[str]) -> None:
    """Builds a version, and opens it by turns."""
    if argv[:1] == ["--child"]:
        kind, store, path = argv[1], Path(argv[2]), Path(argv[3])
        print(json.dumps({"nmslib": _nmslib, "ruiji": _ruiji}[kind](store, np.load(path))))
        return
    given = _parser().parse_args(argv)
    data = make_data(given.data, given.items, given.queries, given.seed)
    with tempfile.TemporaryDirectory(prefix="ruiji-opening-") as name:
        folder = Path(name)
        np.save(folder / "vectors.npy", data.items)
        np.save(folder / "queries.npy", data.queries)
        version = build_version(folder / "vectors.npy", folder / "built", {}, 2).version
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
        for _ in range(given.rounds):
            for kind in _KINDS:
                found[kind].append(_child(kind, folder / "built" / "store", folder / "queries.npy"))
        index_bytes = version.index.stat().st_size
    _tell(given, found, {"items": len(data.items), "dimension": data.items.shape[1], "index_bytes": index_bytes})


def _tell(given: argparse.Namespace, found: dict[str, list[dict[str, Any]]], facts: dict[str, Any]) -> None:
    machine = describe_machine()
    medians = {kind: {"open": statistics.median(each["open"] for each in runs)} for kind, runs in found.items()}
    for kind, each in medians.items():
        for name in ("p50", "p99"):
            each[name] = statistics.median(run["queries"][kind][name] for run in found["ruiji"])
    rounds = f"medians of {given.rounds} processes each, by turns"
    mebibytes = facts["index_bytes"] / 2**20
    size = f"{facts['items']:,} x {facts['dimension']} ({given.data}), index.hnsw of {mebibytes:,.0f} MiB"
    section("Opening", machine_line(machine), "", f"{size}; {rounds}; k {K}", "")
    rows = [[kind, shown(m["open"], 3), shown(m["p50"] * 1e6), shown(m["p99"] * 1e6)] for kind, m in medians.items()]
    ratios = {name: medians["ruiji"][name] / medians["nmslib"][name] for name in ("open", "p50", "p99")}
    # Of one process each, or a slow one would be compared with a fast one.
    ratios["p50"] = statistics.median(
        run["queries"]["ruiji"]["p50"] / run["queries"]["nmslib"]["p50"] for run in found["ruiji"]
    )
    rows.append(["ratio", *(f"{ratios[name]:.2f}" for name in ("open", "p50", "p99"))])
    print(markdown_table(["", "open s", "one query p50 us", "p99 us"], rows))
    last = found["ruiji"][0]["last"]
    same = np.allclose(last["ruiji"], last["nmslib"], atol=1e-5)
    verdicts = {
        f"open within {MOST_OPENING:g} x": ratios["open"] <= MOST_OPENING,
        f"p50 within {MOST_QUERY:g} x": ratios["p50"] <= MOST_QUERY,
        "the same distances": bool(same),
    }
    for name, holds in verdicts.items():
        print(f"- {'yes' if holds else 'NO '}: {name}")
    write_json(given.json, {"machine": machine, **facts, "medians": medians, "ratios": ratios, "verdicts": verdicts})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, 4_000)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
