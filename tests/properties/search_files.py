"""Loads and searches files with stock NMSLIB, in a process of its own because NMSLIB may end it.

Standard input: a JSON list of {path, space, dimension, items}. Standard output, a line each: `open PATH` before a file
is loaded, then `fine PATH` or `wrong PATH: what`; `grown N` MiB at the end. A file that takes longer than its time
ends the process.
"""

import json
import resource
import signal
import sys
from typing import Any

import numpy as np

from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.spaces import space_of

SECONDS, K = 10, 10


def main() -> None:
    files = json.load(sys.stdin)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for file in files:
        signal.alarm(SECONDS)
        _say(f"open {file['path']}")
        problem = _problem(file)
        _say(f"wrong {file['path']}: {problem}" if problem else f"fine {file['path']}")
    _say(f"grown {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _problem(file: dict[str, Any]) -> str | None:
    index = nmslib.init(method="hnsw", space=space_of(file["space"]).nmslib_space)
    index.loadIndex(file["path"], load_data=False)
    queries = np.random.default_rng(0).normal(size=(12, file["dimension"])).astype(np.float32)
    # From 1,000 on NMSLIB searches by another algorithm.
    for ef_search in (K, 100, 1000):
        index.setQueryTimeParams({"efSearch": ef_search})
        for rows, distances in index.knnQueryBatch(queries, k=K, num_threads=1):
            if not 1 <= len(rows) <= min(K, file["items"]) or len(set(rows.tolist())) < len(rows):
                return f"{len(rows)} rows, {len(set(rows.tolist()))} different ones"
            if rows.min() < 0 or rows.max() >= file["items"]:
                return f"rows from {rows.min()} to {rows.max()}"
            if not np.isfinite(distances).all() or (np.diff(distances) < 0).any():
                return f"distances {distances.tolist()}"
    return None


if __name__ == "__main__":
    main()
