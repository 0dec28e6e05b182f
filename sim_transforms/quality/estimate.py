"""What an index job will take, from the size of its catalog: bytes on disk, in memory and on the wire, and time.

Sizes follow from the file formats and hold to a few per cent; memory from copies of vectors and links counted in the
code of each stage and fitted to measured peaks (README of this room); time from a sample that was really built.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim_transforms.hnsw.file_format import HEADER_BYTES, record_type
from sim_transforms.hnsw.partition import FILL
from sim_transforms.settings.stages import IndexSettings

MIB = 2**20

# An SDK process with Beam, Arrow, NMSLIB and numba loaded (274 MiB), its compiled kernels and the allocator's slack.
BASE_BYTES = 325 * MIB
# The driver has loaded TensorFlow too, for the embeddings.
DRIVER_BASE_BYTES = 920 * MIB
# Cells hold up to about twice what they are planned for before they are split.
UNEVEN = 2.0
# The longest side of the matrix products of `quality.exact`: 256 queries, 16,384 items, 12 bytes.
_EXACT_BLOCK_BYTES = 256 * 16_384 * 12
# Beam's own runner holds what is shuffled in the driver, as elements and as bytes.
_SHUFFLE_COPIES = 2
# The driver reads the index to put it together, to check it and to upload it.
_PUBLISH_PASSES = 3
# A job of 300 items: in one process, and with SDK processes of their own, which import and compile for 8 seconds.
_IN_PROCESS_SECONDS, _PROCESSES_SECONDS = 2.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is to be indexed.

    Attributes:
        items: vectors.
        dimension: of the vectors.
        row_bytes: mean bytes of an item's id and further columns in Arrow, without its vector.
        embeddings_bytes: of the files that hold the vectors.
    """

    items: int
    dimension: int
    row_bytes: float
    embeddings_bytes: int


@dataclass(frozen=True, kw_only=True)
class Workers:
    """What works.

    Attributes:
        count: SDK processes side by side.
        local: whether the runner is Beam's own on this machine, which holds the shuffle in the driver's memory.
        in_process: whether the one worker is the driver's own process.
    """

    count: int
    local: bool
    in_process: bool = False

    @property
    def start_seconds(self) -> float:
        """That a job takes without work; machines that a cluster has to start first are not counted."""
        return _IN_PROCESS_SECONDS if self.in_process else _PROCESSES_SECONDS


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A prediction of one index job.

    Attributes:
        shards: expected number.
        index_bytes: of index.hnsw, exact up to the levels that the items draw (in the mean a 1,000th).
        embeddings_bytes: of the inputs' files.
        shard_files_bytes: of the Arrow files of the shards.
        graphs_bytes: of the shards' graphs and links, before they are merged.
        disk_bytes: that the job adds at its peak: all of the above but the embeddings, the parts, and the version in
            the store.
        shuffled_bytes: through the runner's shuffle.
        worker_peak_bytes: memory of the largest SDK process, in the stage `worker_peak_stage`.
        driver_peak_bytes: memory of the process that puts together, measures and publishes.
        workers: SDK processes that `seconds` counts on.
        start_seconds: of a job without work.
        seconds: until the version is published, on cores like those of the machine that measured; null without sample.
        embed_seconds: of `seconds`, those in which the items go through the model.
    """

    items: int
    dimension: int
    shards: int
    index_bytes: int
    embeddings_bytes: int
    shard_files_bytes: int
    graphs_bytes: int
    disk_bytes: int
    shuffled_bytes: int
    worker_peak_bytes: int
    worker_peak_stage: str
    driver_peak_bytes: int
    workers: int
    start_seconds: float
    seconds: float | None = None
    embed_seconds: float | None = None


def index_bytes(items: int, dimension: int, m: int, upper_levels: int | None = None) -> int:
    """Bytes of index.hnsw.

    Args:
        items: rows.
        dimension: of the vectors.
        m: of HNSW.
        upper_levels: sum of the levels of all items; their expectation items / (m - 1) where not given: level l or more
            for a share of m^-l (Malkov & Yashunin 2018, section 4).
    """
    levels = round(items / (m - 1)) if upper_levels is None else upper_levels
    return HEADER_BYTES + items * (record_type(dimension, 2 * m).itemsize + 4) + levels * 4 * (m + 1)


def shard_cap(items: int, settings: IndexSettings) -> int:
    """Most items of a shard, as the partition caps them."""
    if settings.shards is None:
        return settings.shard_items
    return max(1, math.ceil(1.25 * items / settings.shards))


def expected_shards(items: int, settings: IndexSettings) -> int:
    """Cells that the partition plans; splits of overfull cells and joins of tiny ones move it by a few."""
    cap = shard_cap(items, settings)
    if not items:
        return 0
    return 1 if items <= cap else math.ceil(items / (cap * FILL))


def predict(inputs: Inputs, settings: IndexSettings, workers: Workers) -> Estimate:
    """Everything but the time: no vector is read."""
    shards = expected_shards(inputs.items, settings)
    index = index_bytes(inputs.items, inputs.dimension, settings.m)
    shard_files = round(inputs.items * (4 * inputs.dimension + inputs.row_bytes))
    graphs = inputs.items * (_graph_bytes(inputs.dimension, settings.m) + _linked_bytes(settings.m))
    shuffled = shuffled_bytes(inputs, settings)
    memory = worker_bytes(inputs, settings)
    stage = max(memory, key=memory.__getitem__)
    driver = DRIVER_BASE_BYTES + max(index + 4 * inputs.items, _SHUFFLE_COPIES * shuffled if workers.local else 0)
    driver += memory[stage] - BASE_BYTES if workers.in_process else 0
    version = index + round(inputs.items * (inputs.row_bytes + 4))
    return Estimate(
        items=inputs.items,
        dimension=inputs.dimension,
        shards=shards,
        index_bytes=index,
        embeddings_bytes=inputs.embeddings_bytes,
        shard_files_bytes=shard_files,
        graphs_bytes=graphs,
        disk_bytes=shard_files + graphs + index + 2 * version,
        shuffled_bytes=shuffled,
        worker_peak_bytes=driver if workers.in_process else memory[stage],
        worker_peak_stage=stage,
        driver_peak_bytes=driver,
        workers=workers.count,
        start_seconds=workers.start_seconds,
    )


def _graph_bytes(dimension: int, m: int) -> int:
    """Of an item in a .graph.npz: its vector, 2 m links, its level."""
    return 4 * dimension + 8 * m + 4


def _linked_bytes(m: int) -> int:
    """Of an item in a .linked.npz: 2 m links and their distances."""
    return 16 * m


def shuffled_bytes(inputs: Inputs, settings: IndexSettings) -> int:
    """Payload of the elements that are grouped: items, queries to neighbour shards, their answers, upper items."""
    vector = 4 * inputs.dimension
    shards = expected_shards(inputs.items, settings)
    neighbors = min(settings.neighbor_shards, max(0, shards - 1))
    query, answer = vector + 4, 4 + settings.m * 8
    per_item = vector + inputs.row_bytes + neighbors * (query + answer) + (vector + 4) / settings.m
    measured = settings.recall_queries * (vector + 8 + shards * 8 * 11)
    return round(inputs.items * per_item + _sample_items(inputs.items, settings) * vector + measured)


def _sample_items(items: int, settings: IndexSettings) -> int:
    """Items that the centroids are fitted on."""
    return min(items, max(4096, 256 * math.ceil(items / shard_cap(items, settings))))


def worker_bytes(inputs: Inputs, settings: IndexSettings) -> dict[str, int]:
    """Peak memory of an SDK process, by stage.

    Counts the copies of vectors (4 d bytes an item) and of links (8 m bytes) that are held at once; the sum is fitted
    to peaks measured on shards of 10,000 and 20,000 items (`tests/unit/quality/memory_probe.py`).
    """
    vector, links = 4 * inputs.dimension, 8 * settings.m
    shard = min(inputs.items, shard_cap(inputs.items, settings))
    cell = min(inputs.items, math.ceil(UNEVEN * FILL * shard_cap(inputs.items, settings)))
    others = max(0, expected_shards(inputs.items, settings) - 1)
    neighbors = min(settings.neighbor_shards, others)
    held = {
        "partition": 4 * _sample_items(inputs.items, settings) * vector,
        "assign": cell * (7 * vector + 3 * inputs.row_bytes),
        "build": shard * (5 * vector + 3 * links),
        "link": shard * (4 * vector + 8 * links + neighbors * (4.75 * vector + 5 * links)),
        "merge": shard * (3.5 * vector + (5 + 2 * neighbors) * links),
        "upper": inputs.items / settings.m * (7 * vector + 3 * links),
        "measure": shard * 2 * vector + _EXACT_BLOCK_BYTES + 16_384 * 24 * inputs.dimension,
    }
    return {stage: BASE_BYTES + round(size) for stage, size in held.items()}


@dataclass(frozen=True, kw_only=True)
class SampleTimes:
    """Times of a sample that was built in one process.

    Attributes:
        items: of the sample.
        shards: it was cut into.
        build_core_seconds: of the whole chain, over all threads.
        upper_items: that were built as an upper layer apart.
        upper_core_seconds: for these.
        cell_core_seconds: for one item and one centroid of the partition.
        exact_core_seconds: for one query and one item, exactly compared.
        byte_core_seconds: to read and check one byte of the index.
        measure_seconds: to choose ef_search and to measure recall and speed.
        embed_core_seconds: for one item through the model; 0 where the vectors are there.
    """

    items: int
    shards: int
    build_core_seconds: float
    upper_items: int
    upper_core_seconds: float
    cell_core_seconds: float
    exact_core_seconds: float
    byte_core_seconds: float
    measure_seconds: float
    embed_core_seconds: float = 0.0


def sample_items(items: int) -> int:
    """1 % of the items, at least 2,000 and at most 20,000."""
    return min(items, max(2_000, min(20_000, math.ceil(items / 100))))


def sample_settings(sample: int, items: int, settings: IndexSettings) -> IndexSettings:
    """Settings that cut the sample into several shards where the catalog is, so that linking is measured too."""
    shards = min(expected_shards(items, settings), 1 + settings.neighbor_shards)
    return replace(settings, shards=max(1, shards), shard_items=max(16, sample))


def with_seconds(estimate: Estimate, times: SampleTimes, settings: IndexSettings) -> Estimate:
    """Carries the times of the sample to all items.

    Linear in items, but for the search for cells, which is linear in items times shards. What shards do is divided by
    the workers, in whole rounds; the upper layers and publishing are one process's work.
    """
    items = estimate.items
    share = items / max(times.items, 1)
    upper_rate = times.upper_core_seconds / max(times.upper_items, 1)
    upper = items / settings.m * upper_rate
    chain = max(0.0, times.build_core_seconds - times.items / settings.m * upper_rate) * share
    cells = 2 * items * max(0, estimate.shards - times.shards) * times.cell_core_seconds
    exact = min(settings.recall_queries, items) * items * times.exact_core_seconds
    alone = upper + _PUBLISH_PASSES * estimate.index_bytes * times.byte_core_seconds + times.measure_seconds
    rounds = math.ceil(estimate.shards / estimate.workers) / max(estimate.shards, 1)
    embedded = items * times.embed_core_seconds / estimate.workers
    seconds = estimate.start_seconds + alone + embedded + rounds * (chain + cells + exact)
    return replace(estimate, seconds=round(seconds, 1), embed_seconds=round(embedded, 3))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a job took, as far as it is known; bytes and seconds as in `Estimate`."""

    shards: int
    index_bytes: int
    disk_bytes: int
    shuffled_bytes: int | None = None
    worker_peak_bytes: int | None = None
    driver_peak_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Compared:
    """A figure of an estimate beside what came of it; `ratio` = measured / predicted, null where that is 0."""

    name: str
    predicted: float
    measured: float
    ratio: float | None


def compare(estimate: Estimate, outcome: Outcome) -> list[Compared]:
    """Every figure that was both predicted and measured, in the order of `Outcome`."""
    pairs = [(name, getattr(estimate, name), getattr(outcome, name)) for name in COMPARED]
    return [
        Compared(name, predicted, measured, round(measured / predicted, 3) if predicted else None)
        for name, predicted, measured in pairs
        if predicted is not None and measured is not None
    ]


COMPARED: Sequence[str] = (
    "shards",
    "index_bytes",
    "disk_bytes",
    "shuffled_bytes",
    "worker_peak_bytes",
    "driver_peak_bytes",
    "seconds",
)
