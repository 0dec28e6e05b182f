"""Preprocessing beside a bare loop that only reads and decodes the same files, and over growing catalogs in tar files.

    .venv/bin/python -m benchmarks.preprocess --json work/benchmarks/preprocess.json
    .venv/bin/python -m benchmarks.preprocess --kind sounds --sizes 2000,6000
    .venv/bin/python -m benchmarks.preprocess --kind tar --sizes 1,10000,100000,1000000
    .venv/bin/python -m benchmarks.preprocess --sizes 200,600                     # does it run at all

The rate is marginal: the items between two sizes over the difference of the two times, so that start-up and the
analysis' fixed cost fall out. Ruiji is the real command `ruiji preprocess`, as many SDK processes as the loop has. The
loop calls the same decoder on the same files: JPEGs of 256 x 256 coarse noise (some 20 KiB) brought to 128 x 128, or
FLAC files of 5 s of stereo music-like tones at 44,100 Hz brought to 22,050 Hz; a thousand (two hundred) different ones,
linked under as many names as are needed, and read from the page cache by both.

Of tar files (JPEGs of 32 x 32 brought to 16 x 16, 10,000 in each) the first size stands for the empty catalog, whose
time is taken off the others'; the cost of an item should not grow, nor the largest worker.
"""

import argparse
import io
import math
import multiprocessing
import os
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from PIL import Image

from benchmarks.processes import SELDOM_SECONDS, run_measured
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
from sim_transforms.media.decode import decode_media, media_shape
from sim_transforms.media.image import read_media
from sim_transforms.records.codec import to_plain
from sim_transforms.settings.stages import ImageSettings, MediaSettings, SoundSettings

Array = np.ndarray[Any, Any]

LEAST, AIM = 0.60, 0.80
SPREAD = 0.20
_SECONDS, _RATE = 5.0, 44_100
_IN_TAR = 10_000
# Catalogs up to so many pictures in tar files are run several times.
_ROUNDS_TO = 100_000


@dataclass(frozen=True)
class Kind:
    """What is preprocessed: how many different files are made, and what they are decoded to."""

    different: int
    suffix: str
    settings: MediaSettings


KINDS = {
    "pictures": Kind(1_000, "jpg", ImageSettings(height=128, width=128, channels=3)),
    "sounds": Kind(200, "flac", SoundSettings(sample_rate=22_050, seconds=_SECONDS, hop_seconds=_SECONDS)),
    "tar": Kind(1_000, "jpg", ImageSettings(height=16, width=16, channels=3)),
}


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


def content_of(kind: str, number: int, seed: int) -> bytes:
    """A file, the same for the same number and seed."""
    generator, buffer = np.random.default_rng([seed, number]), io.BytesIO()
    if kind == "sounds":
        moments = np.arange(round(_SECONDS * _RATE)) / _RATE
        voices = [np.sin(2 * np.pi * hertz * moments) for hertz in generator.uniform(80, 4000, 12)]
        sound = np.stack([sum(voices[channel::2]) for channel in range(2)], axis=1) / 8
        noisy = sound + 0.01 * generator.standard_normal(sound.shape)
        soundfile.write(buffer, noisy.astype(np.float32), _RATE, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()
    side = 256 if kind == "pictures" else 32
    coarse = Image.fromarray(generator.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_files(kind: str, folder: Path, count: int, seed: int) -> list[Path]:
    """`count` files under `folder/media/class-<n>/`, of which some are different."""
    chosen, originals = KINDS[kind], folder / "originals"
    originals.mkdir(parents=True)
    for number in range(min(chosen.different, count)):
        (originals / str(number)).write_bytes(content_of(kind, number, seed))
    paths = []
    for number in range(count):
        path = folder / "media" / f"class-{number % 10}" / f"{number:07d}.{chosen.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals / str(number % chosen.different), path)
        paths.append(path)
    return paths


def make_catalog(kind: str, paths: Sequence[Path], folder: Path) -> Path:
    """A catalog of some files."""
    catalog = folder / f"catalog-{len(paths)}.csv"
    lines = [f"{path.stem},{path},{path.parent.name}" for path in paths]
    catalog.write_text("\n".join(["item_id,uri,label", *lines]) + "\n")
    return catalog


def make_tars(folder: Path, count: int, seed: int) -> Path:
    """A folder of tar files with `count` pictures in all."""
    target = folder / f"tars-{count}"
    target.mkdir()
    contents = [content_of("tar", number, seed) for number in range(min(KINDS["tar"].different, count))]
    for first in range(0, count, _IN_TAR):
        with tarfile.open(target / f"{first // _IN_TAR:04d}.tar", "w") as archive:
            for number in range(first, min(first + _IN_TAR, count)):
                data = contents[number % len(contents)]
                member = tarfile.TarInfo(f"class-{number % 10}/{number:07d}.jpg")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return target


def bare_rate(kind: str, paths: Sequence[Path], processes: int) -> float:
    """Files a second that a loop in each process decodes."""
    shares = [[str(path) for path in paths[first::processes]] for first in range(processes)]
    decode = partial(_decode, kind)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(decode, [share[:50] for share in shares])  # starts the processes
        began = time.perf_counter()
        pool.map(decode, shares, chunksize=1)
        return len(paths) / (time.perf_counter() - began)


def _decode(kind: str, uris: list[str]) -> int:
    shape = media_shape(KINDS[kind].settings)
    return sum(len(decode_media(read_media(uri), shape).parts[0].media) for uri in uris)


def preprocess(kind: str, source: Path, items: int, folder: Path, processes: int) -> Figures:
    """Runs the command on a catalog."""
    work, config = folder / f"work-{items}", folder / "config.yaml"
    media = to_plain(KINDS[kind].settings)
    tree = {"name": "bench", "catalog": {"source": str(source), "allow_outside": True}, "media": media}
    config.write_text(yaml.safe_dump(tree))
    flags = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    command = [*PROGRAM, "preprocess", "--config", str(config), "--workdir", str(work), *flags]
    measured = run_measured(command, interval_seconds=SELDOM_SECONDS)
    shutil.rmtree(work)
    notify(f"{items:,} {kind}: {measured.seconds:.1f} s")
    return Figures(items, measured.seconds, measured.peaks.worker_rss)


def beside_loop(given: argparse.Namespace, folder: Path) -> tuple[list[Figures], dict[str, Any]]:
    """The command on two sizes, and the loop."""
    few, many = sizes_of(given)
    paths = make_files(given.kind, folder, many, given.seed)
    looped = paths[: max(few, many - few)]
    before, figures = bare_rate(given.kind, looped, given.processes), []
    for count in (few, many):
        catalog = make_catalog(given.kind, paths[:count], folder)
        figures.append(preprocess(given.kind, catalog, count, folder, given.processes))
    # Before and after the command, on a machine whose speed changes from minute to minute.
    bare = statistics.mean((before, bare_rate(given.kind, looped, given.processes)))
    rate = (many - few) / (figures[1].seconds - figures[0].seconds)
    verdict = "met" if rate >= LEAST * bare else "missed"
    line = [[shown(rate, 0), shown(bare, 0), shown(rate / bare, 3), f"at least {LEAST}, aim {AIM}", verdict]]
    headers = ["files a second more", "of the bare loop", "ratio", "bound", "verdict"]
    section("Marginal rate", markdown_table(headers, line))
    return figures, {"rate": rate, "bare": bare}


def growing(given: argparse.Namespace, folder: Path) -> tuple[list[Figures], dict[str, Any]]:
    """The command on tar files of growing catalogs; the first size stands for the empty one."""
    sizes = sizes_of(given)
    sources = {count: make_tars(folder, count, given.seed) for count in sizes}
    runs: dict[int, list[Figures]] = {count: [] for count in sizes}
    # The start of the command takes as long as 100,000 pictures, and drifts by as much as 5,000 take: in turns.
    for turn in range(given.rounds):
        for count in sizes:
            if turn == 0 or count <= _ROUNDS_TO:
                runs[count].append(preprocess("tar", sources[count], count, folder, given.processes))
    figures = [
        replace(max(runs[count], key=_memory), seconds=statistics.median(run.seconds for run in runs[count]))
        for count in sizes
    ]
    costs = [(f.seconds - figures[0].seconds) / f.items * 1e6 for f in figures[1:]]
    # A size whose time is lost in the noise of the first one's has no cost that could be compared.
    spread = max(costs) / min(costs) - 1 if min(costs) > 0 else math.inf
    rows = [[f"{f.items:,}", shown(cost, 0)] for f, cost in zip(figures[1:], costs, strict=True)]
    section("Cost of an item", markdown_table(["pictures", "microseconds each"], rows))
    print(f"\nlargest / smallest - 1: {spread:.3f}, at most {SPREAD}: {'met' if spread <= SPREAD else 'missed'}")
    return figures, {"microseconds": costs, "spread": spread}


def _memory(figures: Figures) -> int:
    return figures.worker_bytes


def sizes_of(given: argparse.Namespace) -> list[int]:
    """Those asked for, or the kind's own."""
    own = {"pictures": "20000,60000", "sounds": "2000,6000", "tar": "1,10000,100000,1000000"}
    return [int(size) for size in (given.sizes or own[given.kind]).split(",")]


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Preprocessing beside a bare loop, and over growing catalogs.")
    parser.add_argument("--kind", choices=sorted(KINDS), default="pictures")
    parser.add_argument("--sizes", help="numbers of files, the smaller first; of tar any number of sizes")
    parser.add_argument("--processes", type=int, default=2, help="SDK workers, and processes of the loop")
    parser.add_argument("--rounds", type=int, default=5, help="of tar files: runs of small catalogs; medians are told")
    parser.add_argument("--seed", type=int, default=0, help="of the files")
    parser.add_argument("--workdir", type=Path, default=Path("work/benchmarks"), help="for the files of a run")
    parser.add_argument("--json", type=Path, help="file for all figures")
    given = parser.parse_args(argv)
    given.workdir.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    section(f"ruiji preprocess: {given.kind}", machine_line(machine))
    with tempfile.TemporaryDirectory(dir=given.workdir.absolute()) as name:
        figures, further = (growing if given.kind == "tar" else beside_loop)(given, Path(name))
    rows = [[f"{f.items:,}", shown(f.seconds, 1), f"{f.worker_bytes / 2**20:,.0f}"] for f in figures]
    section("The command", markdown_table([given.kind, "s", "largest worker MiB"], rows))
    write_json(given.json, {"machine": machine, "figures": [asdict(f) for f in figures], **further})


if __name__ == "__main__":
    main(sys.argv[1:])
