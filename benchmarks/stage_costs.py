"""Cost model of the stages: processor seconds and bytes of an item, fitted on small catalogs, tried on a large one.

    .venv/bin/python -m benchmarks.scale --kind stages --json work/benchmarks/stages.json
    .venv/bin/python -m benchmarks.scale --kind stages --sizes 300,600,1200 --shard-items 100 --rounds 1   # does it run

Runs the stages of the real command one by one on catalogs of small pictures in tar files: `preprocess`, `embed`,
`index`, and `reindex` of a catalog that has grown by a hundredth. Three figures of a stage are a straight line in the
number of items: processor seconds (user and system, of all processes), bytes read and bytes written (by system calls,
the page cache's too; what is mapped into memory is not counted). The line goes through the two smallest sizes, medians
of the rounds; the largest, run once, says how far off it is. `index.shard_items` is the same at every size, as it is
while a catalog grows. One part of `index` is no line: each item looks for its cell, and for cells beside it, among all
shards; a kernel timed by itself says what that costs, and it is counted apart. Processor seconds are brought to those
of a core at rest (`Pace`). From the same figures the costs of
catalogs that no machine here holds are carried on, and with them what one worker has to hold (`quality.estimate`).

Bytes shuffled are not measured but counted from what the elements hold (`quality.estimate.shuffled_bytes` for the
index): Beam's local runner lets them wait in files of its own.
"""

import argparse
import io
import json
import resource
import shutil
import statistics
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import yaml
from PIL import Image
from threadpoolctl import threadpool_limits

from benchmarks.processes import run_measured
from benchmarks.ruiji import PROGRAM
from benchmarks.tables import markdown_table, mebibytes, notify, shown
from sim_transforms.hnsw.partition import nearest_cells
from sim_transforms.quality.estimate import ROW_BYTES, Inputs, Workers, expected_shards, predict, worker_bytes
from sim_transforms.settings.stages import IndexSettings

STAGES = ("preprocess", "embed", "index", "reindex")
# What the model may be off by at the largest size.
BOUND = 0.25
_IN_TAR, _CLASSES, _KINDS = 10_000, 10, 200
_GROWTH = 100
# Catalogs that the model is carried to, and `index.shard_items` that keeps the search for cells small there.
CARRIED = ((10**6, 25_000), (10**7, 25_000), (10**8, 25_000), (10**8, 100_000), (10**9, 250_000))
DIMENSION = 64
_ITEMS_TIMED, _CELLS_TIMED = 20_000, 2_000
_PACE_SECONDS, _PACES = 2.0, 50
_MATRIX, _MEMORY = np.ones((256, 256), np.float32), np.ones(2**21, np.float32)
_WORKERS = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
_EMBED = "import sys; from benchmarks.stage_costs import embed_alone; embed_alone(sys.argv[1:])"


@dataclass(frozen=True)
class Cost:
    """Of one run of a stage, or of an item.

    Attributes:
        cpu_seconds: of all processes, on cores as fast as at rest (`Pace`).
        read_bytes, written_bytes: by system calls.
        slowdown: by which the processor seconds were divided; 1 where they are no measurement.
    """

    cpu_seconds: float
    read_bytes: float
    written_bytes: float
    slowdown: float = 1.0


FIGURES = ("cpu_seconds", "read_bytes", "written_bytes")


@dataclass(frozen=True)
class Line:
    """fixed + items * each."""

    fixed: Cost
    each: Cost

    def at(self, items: int) -> Cost:
        """What the model says of so many items."""
        return Cost(*(getattr(self.fixed, name) + items * getattr(self.each, name) for name in FIGURES))


def line_through(sizes: tuple[int, int], costs: tuple[Cost, Cost]) -> Line:
    """The line through two measurements; where less than nothing would be fixed, through nothing and the larger."""
    (few, many), (low, high) = sizes, costs
    fixed, each = {}, {}
    for name in FIGURES:
        first, second = getattr(low, name), getattr(high, name)
        slope = (second - first) / (many - few)
        fixed[name] = max(0.0, first - few * slope)
        each[name] = slope if fixed[name] else second / many
    return Line(Cost(**fixed), Cost(**each))


@dataclass(frozen=True)
class Costs:
    """Attributes:
    sizes: numbers of items, smallest first.
    measured: stage -> a Cost a size.
    shard_items: of the index.
    cell_seconds: of a core, for one item and one cell.
    """

    sizes: tuple[int, ...]
    measured: dict[str, tuple[Cost, ...]]
    shard_items: int
    cell_seconds: float

    def line(self, stage: str) -> Line:
        """Fitted on the two smallest sizes, without the search for cells."""
        few, many = (
            replace(cost, cpu_seconds=cost.cpu_seconds - self.search(stage, size))
            for size, cost in zip(self.sizes[:2], self.measured[stage], strict=False)
        )
        return line_through((self.sizes[0], self.sizes[1]), (few, many))

    def search(self, stage: str, items: int, shard_items: int | None = None) -> float:
        """Processor seconds of the search for cells: twice, for the item's own cell and for those beside it."""
        settings = IndexSettings(shard_items=shard_items or self.shard_items)
        return 2 * items * expected_shards(items, settings) * self.cell_seconds if stage == "index" else 0.0

    def at(self, stage: str, items: int, shard_items: int | None = None) -> Cost:
        """What the model says of so many items."""
        cost = self.line(stage).at(items)
        return replace(cost, cpu_seconds=cost.cpu_seconds + self.search(stage, items, shard_items))

    def ratio(self, stage: str, name: str = "cpu_seconds") -> float:
        """Predicted over measured, at the largest size."""
        return float(getattr(self.at(stage, self.sizes[-1]), name) / getattr(self.measured[stage][-1], name))


def picture(number: int, seed: int) -> bytes:
    """A JPEG of 32 x 32, like the others of its kind, of which there are 200."""
    kind = np.random.default_rng([seed, number % _KINDS]).integers(0, 256, (4, 4, 3))
    own = np.random.default_rng([seed, _KINDS, number]).integers(0, 256, (4, 4, 3))
    buffer = io.BytesIO()
    mixed = Image.fromarray((0.7 * kind + 0.3 * own).astype(np.uint8))
    mixed.resize((32, 32), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_tars(folder: Path, first: int, count: int, seed: int) -> None:
    """Pictures of the numbers from `first` on, 10,000 in a file, in folders of their classes."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(first, first + count, _IN_TAR):
        with tarfile.open(folder / f"{start:010d}.tar", "w") as archive:
            for number in range(start, min(start + _IN_TAR, first + count)):
                data = picture(number, seed)
                member = tarfile.TarInfo(f"class-{number % _CLASSES}/{number:010d}.jpg")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


class Pace:
    """How fast a core is while others work: a thread that does the same small work every other second.

    Two virtual cores may be one real one, and neighbours come and go: preprocessing the same 100,000 pictures took 64
    and 77 processor seconds here. Seconds are brought to those of a core at rest, so that a short run, which leaves a
    core idle for most of its time, and a long one, which does not, can stand on one line.

    Args:
        at_rest: seconds that the work takes on an idle machine (`Pace.rest`).
    """

    def __init__(self, at_rest: float) -> None:
        self._at_rest, self._ended = at_rest, threading.Event()
        self._seen: list[float] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @classmethod
    def rest(cls) -> float:
        """Measures an idle machine."""
        return statistics.median(_work_seconds() for _ in range(_PACES))

    @property
    def slowdown(self) -> float:
        """Times as long as at rest, in the mean; 1 where it was never looked at."""
        return statistics.fmean(self._seen) / self._at_rest if self._seen else 1.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_PACE_SECONDS):
            self._seen.append(_work_seconds())


def _work_seconds() -> float:
    """Processor seconds of bytecode, of a matrix product on one thread, and of memory that no cache holds."""
    began = time.thread_time()
    total = 0
    for number in range(100_000):
        total += number & 7
    with threadpool_limits(1):
        _MATRIX @ _MATRIX
    _MEMORY.copy()
    return time.thread_time() - began


class Catalog:
    """A catalog of one size, its configuration and its working directory.

    Args:
        folder: of all three.
        items: pictures of it.
        shard_items: of the index.
        seed: of the pictures.
        at_rest: of `Pace`.
    """

    def __init__(self, folder: Path, items: int, shard_items: int, seed: int, at_rest: float) -> None:
        """Writes pictures and configuration."""
        self._folder, self._items, self._seed, self._at_rest = folder, items, seed, at_rest
        self._tars, self.work = folder / "tars", folder / "work"
        write_tars(self._tars, 0, items, seed)
        tree = {
            "name": "scale",
            "workdir": str(self.work),
            "catalog": {"source": str(self._tars)},
            "media": {"kind": "image", "height": 16, "width": 16, "channels": 3},
            "train": {"epochs": 1, "steps_per_epoch": 50, "calibrate_precision": 0.5},
            "index": {"shard_items": shard_items},
        }
        self._config = folder / "catalog.yaml"
        self._config.write_text(yaml.safe_dump(tree))

    def train(self) -> Path:
        """Its model, from a short training."""
        self.run("preprocess")
        self.run("train")
        return self.work / "model"

    def grow(self) -> None:
        """A hundredth more pictures, in files of their own."""
        write_tars(self._tars, self._items, max(1, self._items // _GROWTH), self._seed)

    def run(self, stage: str) -> Cost:
        """Runs a stage; those before it have run."""
        program = (sys.executable, "-c", _EMBED) if stage == "embed" else (*PROGRAM, stage)
        # Small jobs would run in one process, and large ones not: no line goes through both.
        flags = _WORKERS if stage != "train" else ()
        before = _cpu_of_children()
        with Pace(self._at_rest) as pace:
            finished = run_measured([*program, "--config", str(self._config), "--json", *flags])
        if stage == "reindex" and (how := json.loads(finished.output.splitlines()[-1])["how"]) != "patched":
            raise SystemExit(f"{self._items:,} items: the index was {how}, not patched: no line goes through both")
        # Of processes that were waited for the kernel keeps the sum, which misses no last moment.
        seconds = max(finished.cpu_seconds, _cpu_of_children() - before)
        return Cost(seconds / pace.slowdown, finished.read_bytes, finished.written_bytes, pace.slowdown)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def embed_alone(argv: Sequence[str]) -> None:
    """What `ruiji index` does first, in a process of its own."""
    from pipelines._main import Main, quiet_libraries, steady_memory
    from pipelines.cli import parser
    from pipelines.run import Runner
    from pipelines.stages import Stages
    from sim_transforms.runs.lock import workdir_lock

    quiet_libraries()
    steady_memory()
    arguments, further = parser().parse_known_args(["index", *argv])
    main = Main(arguments, further)
    stages = Stages(main, main.settings())
    with workdir_lock(stages.workdir):
        Runner(main, main.settings(), stages).embed()


def measure_once(catalog: Catalog, model: Path) -> dict[str, Cost]:
    """All stages of one catalog, in their order, with a model that was trained before."""
    found = {"preprocess": catalog.run("preprocess")}
    shutil.copytree(model, catalog.work / "model")
    found["embed"], found["index"] = catalog.run("embed"), catalog.run("index")
    catalog.grow()
    found["reindex"] = catalog.run("reindex")
    return found


def measure(given: argparse.Namespace, folder: Path) -> Costs:
    """Runs every size: the largest once, the others `rounds` times.

    Args:
        given: sizes, shard_items, rounds and seed of the command line.
        folder: empty.
    """
    sizes = tuple(sorted(int(size) for size in given.sizes.split(",")))
    if len(sizes) < 3:
        raise SystemExit("--sizes: two to fit the model, and a larger one to try it on")
    at_rest = Pace.rest()
    learner = Catalog(folder / "learner", sizes[0], given.shard_items, given.seed, at_rest)
    model = learner.train()
    # Compiles the kernels of all stages, which counts for no size.
    learner.run("index")
    learner.grow()
    learner.run("reindex")
    runs: dict[int, list[dict[str, Cost]]] = {size: [] for size in sizes}
    for size in sizes:
        for number in range(given.rounds if size < sizes[-1] else 1):
            place = folder / f"{size}-{number}"
            runs[size].append(measure_once(Catalog(place, size, given.shard_items, given.seed, at_rest), model))
            shutil.rmtree(place)
            found = runs[size][-1].items()
            told = ", ".join(f"{stage} {cost.cpu_seconds:.1f} s (x {cost.slowdown:.2f})" for stage, cost in found)
            notify(f"{size:,} items, round {number + 1}: {told}")
    measured = {stage: tuple(_median([r[stage] for r in runs[size]]) for size in sizes) for stage in STAGES}
    return Costs(sizes, measured, given.shard_items, time_cells(given.seed))


def time_cells(seed: int) -> float:
    """Core seconds for one item and one cell, of 20,000 items among 2,000 cells of 64 dimensions."""
    vectors = np.random.default_rng(seed).standard_normal((_ITEMS_TIMED + _CELLS_TIMED, DIMENSION), dtype=np.float32)
    items, cells = vectors[:_ITEMS_TIMED], vectors[_ITEMS_TIMED:]
    nearest_cells(items[:100], cells, 1)
    began = time.process_time()
    nearest_cells(items, cells, 1)
    return (time.process_time() - began) / (len(items) * len(cells))


def _median(costs: Sequence[Cost]) -> Cost:
    figures = (statistics.median(getattr(cost, name) for cost in costs) for name in (*FIGURES, "slowdown"))
    return Cost(*figures)


def model_table(costs: Costs) -> str:
    """What the line says of each stage."""
    headers = ["stage", "fixed CPU s", "CPU us an item", "bytes read an item", "bytes written an item"]
    rows = []
    for stage in STAGES:
        line = costs.line(stage)
        rows.append(
            [
                stage,
                shown(line.fixed.cpu_seconds, 1),
                shown(line.each.cpu_seconds * 1e6, 0),
                shown(line.each.read_bytes),
                shown(line.each.written_bytes),
            ]
        )
    return markdown_table(headers, rows)


def trial_table(costs: Costs) -> str:
    """Predicted and measured at the largest size."""
    headers = ["stage", *(f"CPU s at {size:,}" for size in costs.sizes), "predicted", "predicted / measured"]
    headers += ["of bytes read", "of bytes written"]
    rows = []
    for stage in STAGES:
        measured = [shown(cost.cpu_seconds, 1) for cost in costs.measured[stage]]
        predicted = costs.at(stage, costs.sizes[-1]).cpu_seconds
        ratios = [f"{costs.ratio(stage, name):.2f}" for name in FIGURES]
        rows.append([stage, *measured, shown(predicted, 1), *ratios])
    return markdown_table(headers, rows)


def carried_table(costs: Costs) -> str:
    """Core hours of each stage on catalogs that were not run, with larger shards the larger they are."""
    headers = ["items", "shard_items", *(f"{stage} core h" for stage in STAGES), "a run on 100 cores, h"]
    rows = []
    for items, shard_items in CARRIED:
        hours = [costs.at(stage, items, shard_items).cpu_seconds / 3600 for stage in STAGES]
        rows.append([shown(items), shown(shard_items), *(shown(h, 1) for h in hours), shown(sum(hours[:3]) / 100, 1)])
    return markdown_table(headers, rows)


def sizes_table() -> str:
    """Bytes of the stages, and what one worker alone has to hold."""
    headers = ["items", "shard_items", "shards", "index GiB", "disk GiB", "shuffled GiB", "partition MiB"]
    headers += ["shard's worker MiB", "upper layers' worker MiB", "driver GiB"]
    rows = []
    for items, shard_items in CARRIED:
        settings = IndexSettings(shard_items=shard_items)
        inputs = Inputs(items=items, dimension=DIMENSION, row_bytes=ROW_BYTES, embeddings_bytes=0)
        told = predict(inputs, settings, Workers(count=100, local=False))
        memory = worker_bytes(inputs, settings)
        shard = max(size for stage, size in memory.items() if stage not in ("partition", "upper"))
        sizes = [told.index_bytes, told.disk_bytes, told.shuffled_bytes]
        alone = [memory["partition"], shard, memory["upper"]]
        rows.append(
            [
                *(shown(count) for count in (items, shard_items, told.shards)),
                *(shown(size / 2**30, 1) for size in sizes),
                *(mebibytes(size) for size in alone),
                shown(told.driver_peak_bytes / 2**30, 1),
            ]
        )
    return markdown_table(headers, rows)


def verdicts(costs: Costs) -> dict[str, bool]:
    """Whether each stage's processor seconds are as the model says."""
    within = {stage: abs(costs.ratio(stage) - 1) <= BOUND for stage in STAGES}
    return {f"{stage}: predicted within {100 * BOUND:.0f} %": kept for stage, kept in within.items()}


def figures_of(costs: Costs) -> dict[str, object]:
    """For --json."""
    lines = {stage: asdict(costs.line(stage)) for stage in STAGES}
    measured = {stage: [asdict(cost) for cost in found] for stage, found in costs.measured.items()}
    known = {"shard_items": costs.shard_items, "cell_seconds": costs.cell_seconds}
    return {"sizes": costs.sizes, "measured": measured, "lines": lines, **known}
