"""The trainer's balanced batches beside a plain sequential read of the same TFRecords by tf.data.

    .venv/bin/python -m benchmarks.sampler --json work/benchmarks/sampler.json
    .venv/bin/python -m benchmarks.sampler --sizes 1000,5000                       # does it run at all

Examples are 16 x 16 uint8 pictures of noise in a thousand classes, in files of 100,000, read from the page cache. Both
sides parse the examples and decode the pixels, in batches of 128. Each side of each size runs in a process of its own,
in turns; rates and memory are medians. Memory is what the process holds at its peak.
"""

import argparse
import json
import statistics
import subprocess
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

LEAST_RATE, MOST_GROWTH_MIB = 0.8, 200
_BATCH, _PER_FILE, _CLASSES, _SIDE = 128, 100_000, 1_000, 16
_EXAMPLES_PER_CLASS = 8


@dataclass(frozen=True)
class Figures:
    """Attributes:
    side: "sampler" or "tf.data".
    rate: examples a second.
    peak_mib: resident memory.
    """

    side: str
    items: int
    rate: float
    peak_mib: float


def write_examples(folder: Path, items: int, seed: int) -> None:
    """TFRecord files and their offsets."""
    from sim_transforms.features.example_format import ExampleRecord, encode_example
    from sim_transforms.storage.tfrecord import frame

    generator, rows = np.random.default_rng(seed), []
    pixels = [generator.bytes(_SIDE * _SIDE) for _ in range(1_000)]
    for first in range(0, items, _PER_FILE):
        offset = 0
        with (folder / f"{first // _PER_FILE}.tfrecord").open("wb") as file:
            for number in range(first, min(items, first + _PER_FILE)):
                label = f"class-{number % _CLASSES}"
                media = pixels[number * 7 % len(pixels)]
                record = frame(encode_example(ExampleRecord(f"item-{number}", label, "train", "0" * 64, media)))
                file.write(record)
                rows.append((f"item-{number}", label, "train", first // _PER_FILE, offset, len(record)))
                offset += len(record)
    names = ("item_id", "label", "split", "shard", "offset", "length")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    pq.write_table(table, folder / "offsets.parquet")


def measure(side: str, folder: Path, items: int, batches: int) -> Figures:
    """Reads batches of one side in this process."""
    import tensorflow as tf

    from sim_transforms.features.example_format import FEATURE_SPEC

    spec = {"media": FEATURE_SPEC["media"]}

    @tf.function(reduce_retracing=True)
    def parse(serialized: Any) -> Any:
        return tf.io.decode_raw(tf.io.parse_example(serialized, spec)["media"], tf.uint8)

    paths = sorted(folder.glob("*.tfrecord"), key=lambda path: int(path.stem))
    if side == "tf.data":
        stream = iter(tf.data.TFRecordDataset([str(path) for path in paths]).repeat().batch(_BATCH).map(parse))
        rate = _rate(lambda: next(stream), batches)
    else:
        rate = _sampler_rate(folder, paths, parse, batches)
    return Figures(side, items, rate, _peak_mib())


def _sampler_rate(folder: Path, paths: list[Path], parse: Any, batches: int) -> float:
    import tensorflow as tf

    from trainer.batches import Batches, Groups, group_size
    from trainer.places import load_places
    from trainer.records import RecordReader
    from trainer.sampler import BalancedSampler

    places, reader = load_places(folder), RecordReader(paths)
    sampler = BalancedSampler(
        places.numbers, np.arange(len(places)), _BATCH // _EXAMPLES_PER_CLASS, _EXAMPLES_PER_CLASS, 0
    )
    with Batches(
        sampler,
        places.numbers,
        lambda rows: reader.read_all(places, rows),
        lambda records: parse(tf.constant(records)),
        groups=Groups(group_size(_BATCH * float(places.lengths.mean())), split=tf.split),
    ) as stream:
        return _rate(lambda: next(stream).features, batches)


def _rate(draw: Any, batches: int) -> float:
    for _ in range(20):
        draw()
    began = time.perf_counter()
    for _ in range(batches):
        features = draw()
    assert features.shape == (_BATCH, _SIDE * _SIDE)
    return batches * _BATCH / (time.perf_counter() - began)


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _measure_apart(side: str, folder: Path, items: int, batches: int) -> Figures:
    command = [sys.executable, "-m", "benchmarks.sampler", "--measure", side, "--folder", str(folder)]
    command += ["--sizes", str(items), "--batches", str(batches)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = Figures(**json.loads(done.stdout.splitlines()[-1]))
    notify(f"{side}, {items:,}: {figures.rate:,.0f} a second, {figures.peak_mib:.0f} MiB")
    return figures


def compare(sizes: Sequence[int], rounds: int, batches: int, seed: int, workdir: Path) -> list[Figures]:
    """All runs; the sides take turns."""
    runs = []
    with tempfile.TemporaryDirectory(dir=workdir) as name:
        for items in sizes:
            folder = Path(name) / str(items)
            folder.mkdir()
            write_examples(folder, items, seed)
            for _ in range(rounds):
                runs += [_measure_apart(side, folder, items, batches) for side in ("tf.data", "sampler")]
    return runs


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Balanced batches beside a sequential read.")
    parser.add_argument("--sizes", default="10000,1000000", help="numbers of examples, the smallest first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=Path("work/benchmarks"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", choices=("tf.data", "sampler"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    sizes = [int(size) for size in given.sizes.split(",")]
    if given.measure:
        print(json.dumps(asdict(measure(given.measure, given.folder, sizes[0], given.batches))))
        return
    given.workdir.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    section("Balanced batches beside a sequential read", machine_line(machine))
    runs = compare(sizes, given.rounds, given.batches, given.seed, given.workdir)
    _tell(sizes, runs)
    write_json(given.json, {"machine": machine, "runs": [asdict(run) for run in runs]})


def _tell(sizes: Sequence[int], runs: list[Figures]) -> None:
    def median(side: str, items: int, value: str) -> float:
        return statistics.median(getattr(run, value) for run in runs if (run.side, run.items) == (side, items))

    rows = []
    for items in sizes:
        rates = [median(side, items, "rate") for side in ("sampler", "tf.data")]
        memory = median("sampler", items, "peak_mib")
        rows.append([f"{items:,}", *(shown(rate) for rate in rates), shown(rates[0] / rates[1], 3), shown(memory)])
    headers = ["examples", "sampler, a second", "tf.data, a second", "ratio", "sampler, MiB"]
    section("Rates and memory", markdown_table(headers, rows))
    growth = median("sampler", sizes[-1], "peak_mib") - median("sampler", sizes[0], "peak_mib")
    print(f"\nratio at least {LEAST_RATE}; memory grew by {growth:.0f} MiB, less than {MOST_GROWTH_MIB} is asked")


if __name__ == "__main__":
    main(sys.argv[1:])
