"""Preprocessing of pictures beside a bare loop that only reads, decodes and resizes them.

    .venv/bin/python -m benchmarks.preprocess --json work/benchmarks/preprocess.json
    .venv/bin/python -m benchmarks.preprocess --sizes 200,600                     # does it run at all

The rate is marginal: the items between the two sizes over the difference of the two times, so that start-up and the
analysis' fixed cost fall out. Ruiji is the real command `ruiji preprocess`, as many SDK processes as the loop has. The
loop calls the same decoder on the same files. The files are JPEGs of 256 x 256 coarse noise (some 20 KiB), a thousand
different ones, linked under as many names as are needed, and read from the page cache by both.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.processes import run_measured
from benchmarks.ruiji import PROGRAM
from benchmarks.tables import (
    describe_machine,
    machine_line,
    markdown_table,
    notify,
    section,
    shown,
    write_json,
)
from sim_transforms.media.image import decode_image, image_shape, read_media
from sim_transforms.settings.stages import ImageSettings

Array = np.ndarray[Any, Any]

DIFFERENT, SIDE, WANTED = 1_000, 256, 128
LEAST, AIM = 0.60, 0.80


@dataclass(frozen=True)
class Figures:
    """Of one size.

    Attributes:
        seconds: of `ruiji preprocess`.
        worker_bytes: peak resident bytes of the largest SDK worker.
    """

    items: int
    seconds: float
    worker_bytes: int


def make_files(folder: Path, count: int, seed: int) -> list[Path]:
    """`count` JPEGs under `folder/class/`, of which DIFFERENT are different."""
    generator = np.random.default_rng(seed)
    originals = folder / "originals"
    originals.mkdir(parents=True)
    for number in range(min(DIFFERENT, count)):
        coarse = Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(originals / f"{number}.jpg", quality=90)
    paths = []
    for number in range(count):
        path = folder / "media" / f"class-{number % 10}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals / f"{number % DIFFERENT}.jpg", path)
        paths.append(path)
    return paths


def bare_rate(paths: Sequence[Path], processes: int) -> float:
    """Pictures a second that a loop in each process decodes."""
    shares = [[str(path) for path in paths[first::processes]] for first in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(_decode, [share[:50] for share in shares])  # starts the processes
        began = time.perf_counter()
        pool.map(_decode, shares, chunksize=1)
        return len(paths) / (time.perf_counter() - began)


def _decode(uris: list[str]) -> int:
    shape = image_shape(ImageSettings(height=WANTED, width=WANTED, channels=3))
    return sum(decode_image(read_media(uri), shape).nbytes for uri in uris)


def preprocess(paths: Sequence[Path], folder: Path, processes: int) -> Figures:
    """Runs the command on the first files."""
    work = folder / f"work-{len(paths)}"
    catalog = folder / f"catalog-{len(paths)}.csv"
    lines = [f"{path.stem},{path},{path.parent.name}" for path in paths]
    catalog.write_text("\n".join(["item_id,uri,label", *lines]) + "\n")
    config = folder / "config.yaml"
    config.write_text(
        f"name: bench\ncatalog: {{source: {catalog}, allow_outside: true}}\n"
        f"media: {{kind: image, height: {WANTED}, width: {WANTED}, channels: 3}}\n"
    )
    flags = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    command = [*PROGRAM, "preprocess", "--config", str(config), "--workdir", str(work), *flags]
    measured = run_measured(command)
    shutil.rmtree(work)
    return Figures(len(paths), measured.seconds, measured.peaks.worker_rss)


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Preprocessing beside a bare loop.")
    parser.add_argument("--sizes", default="20000,60000", help="numbers of pictures, the smaller first")
    parser.add_argument("--processes", type=int, default=2, help="SDK workers, and processes of the loop")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    parser.add_argument("--workdir", type=Path, default=Path("work/benchmarks"), help="for the files of a run")
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args(argv)
    few, many = (int(size) for size in given.sizes.split(","))
    given.workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.workdir.absolute()) as name:
        folder = Path(name)
        paths = make_files(folder, many, given.seed)
        figures = []
        for count in (few, many):
            figures.append(preprocess(paths[:count], folder, given.processes))
            notify(f"{count:,} pictures: {figures[-1].seconds:.1f} s")
        bare = bare_rate(paths[: max(few, many - few)], given.processes)
    rate = (many - few) / (figures[1].seconds - figures[0].seconds)
    machine = describe_machine()
    section("Pictures", machine_line(machine))
    rows = [[f"{f.items:,}", shown(f.seconds, 1), f"{f.worker_bytes / 2**20:,.0f}"] for f in figures]
    section("ruiji preprocess", markdown_table(["pictures", "s", "largest worker MiB"], rows))
    verdict = "met" if rate >= LEAST * bare else "missed"
    line = [[shown(rate, 0), shown(bare, 0), shown(rate / bare, 3), f"at least {LEAST}, aim {AIM}", verdict]]
    headers = ["pictures a second more", "of the bare loop", "ratio", "bound", "verdict"]
    section("Marginal rate", markdown_table(headers, line))
    write_json(given.json, {"machine": machine, "figures": [asdict(f) for f in figures], "rate": rate, "bare": bare})


if __name__ == "__main__":
    main(sys.argv[1:])
