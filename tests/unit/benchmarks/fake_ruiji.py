"""Stands in for `ruiji index --embeddings`: the same flags, and a version of the same files, built by NMSLIB in one go.

The rows of the file are not the order of the vectors, and the timings are made up.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peers import Recipe, build_peer


def publish(embeddings: Path, store: Path, settings: dict[str, str]) -> None:
    vectors = np.load(embeddings)
    order = np.random.default_rng(1).permutation(len(vectors))
    folder = store / "versions" / "0123456789abcdef"
    folder.mkdir(parents=True)
    build_peer("nmslib", vectors[order], Recipe(settings.get("index.space", "l2"), threads=1), folder / "index.hnsw")
    rows, ids = pa.array(np.arange(len(order), dtype=np.int32)), pa.array([str(i) for i in order])
    pq.write_table(pa.table({"row": rows, "item_id": ids}), folder / "items.parquet")
    ranges = [{"shard": 0, "first_row": 0, "end_row": len(order)}]
    manifest = {"ef_search": 100, "recall": [{"k": 10, "recall": 0.99}], "row_ranges": ranges}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "timings.json").write_text(json.dumps({"graph_seconds": 0.25, "measure_seconds": 0.125}))
    (store / "LATEST").write_text(folder.name + "\n")


def main(argv: list[str]) -> None:
    assert argv[0] == "index"
    assert argv[-1] == "--json"
    flags = {argv[i]: argv[i + 1] for i in range(1, 7, 2)}
    overrides = dict(word.split("=", 1) for word in argv[7:] if word.startswith("index."))
    publish(Path(flags["--embeddings"]), Path(flags["--store"]), overrides)
    sys.stdout.write(json.dumps({"version": "0123456789abcdef"}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
