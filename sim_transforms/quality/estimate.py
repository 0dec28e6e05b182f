"""What an index job will take, from the size of its catalog: bytes on disk, in memory and on the wire, and time.

Sizes follow from the file formats and hold to a few per cent; memory from copies of vectors and links counted in the
code of each stage and fitted to measured peaks (README of this room); time from a sample that was really built.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim_transforms.hnsw.cells import CELL_ITEMS
from sim_transforms.hnsw.file_format import HEADER_BYTES, record_type
from sim_transforms.hnsw.link import foreign_links
from sim_transforms.hnsw.partition import FILL, sample_size, shard_cap
from sim_transforms.settings.stages import IndexSettings

MIB = 2**20

# An SDK process with Beam, Arrow, NMSLIB and numba loaded, and its kernels out of numba's cache. A process that has to
# compile them holds 85 MiB more for a while.
BASE_BYTES = 345 * MIB
# The driver: Beam and Arrow; a run that embeds has loaded TensorFlow too.
DRIVER_BASE_BYTES = 345 * MIB
# Of TensorFlow in a process that embeds, before it has loaded a model.
TENSORFLOW_BYTES = 500 * MIB
# Groups are split by what the sample tells of them, some hundred items each: they come out up to a fifth too large.
UNEVEN = 1.2
# Matrix products: of the search in cells, and of `quality.exact` (256 queries, 16,384 items, 12 bytes).
_PRODUCTS_BYTES, _EXACT_BLOCK_BYTES, _EXACT_ITEMS = 56 * MIB, 256 * 16_384 * 12, 16_384
# The driver reads the index to put it together, to check it and to upload it.
_PUBLISH_PASSES = 3
# Of an item's id and metadata, roughly, where nobody has looked: vectors and links are what counts.
ROW_BYTES = 64.0
# Schema, cells and footers of a shard's Arrow file.
_SHARD_HEAD_BYTES = 3_000
# Of an item in a page to browse, measured on pictures of 16 by 16 pixels; with a photograph it is some 4,000.
_PAGE_BYTES = 600
# Queries that each shard is measured with on its own.
_SHARD_QUERIES = 100
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
        local: whether the runner is Beam's own on this machine, where what is grouped waits in files.
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
        disk_bytes: that the job adds at its peak: all of the above but the embeddings, the parts, the version in the
            store, and on Beam's own runner what meets at shards.
        shuffled_bytes: through the runner's shuffle.
        worker_peak_bytes: memory of the largest SDK process, in the stage `worker_peak_stage`; bounded by the cap on
            shards, but for the upper layers.
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
    shard_files = round(inputs.items * _shard_bytes(inputs) + shards * _SHARD_HEAD_BYTES)
    graphs = inputs.items * _graph_bytes(settings.m)
    shuffled = shuffled_bytes(inputs, settings)
    memory = worker_bytes(inputs, settings)
    stage = max(memory, key=memory.__getitem__)
    # On Beam's own runner what is grouped waits in files (`group_in_files`).
    spilled = grouped_bytes(inputs, settings) if workers.local else 0
    driver = DRIVER_BASE_BYTES + index + 4 * inputs.items
    driver += memory[stage] - BASE_BYTES if workers.in_process else 0
    page = inputs.items * _PAGE_BYTES if settings.wants_page(inputs.items) else 0
    version = index + round(inputs.items * (inputs.row_bytes + 4)) + page
    return Estimate(
        items=inputs.items,
        dimension=inputs.dimension,
        shards=shards,
        index_bytes=index,
        embeddings_bytes=inputs.embeddings_bytes,
        shard_files_bytes=shard_files,
        graphs_bytes=graphs,
        disk_bytes=shard_files + graphs + index + 2 * version + spilled,
        shuffled_bytes=shuffled,
        worker_peak_bytes=driver if workers.in_process else memory[stage],
        worker_peak_stage=stage,
        driver_peak_bytes=driver,
        workers=workers.count,
        start_seconds=workers.start_seconds,
    )


def _shard_bytes(inputs: Inputs) -> float:
    """Of an item in the Arrow file of its shard: its vector, its columns, its level, its part of the cells."""
    return 4 * inputs.dimension * (1 + 1 / CELL_ITEMS) + inputs.row_bytes + 1


def _graph_bytes(m: int) -> int:
    """Of an item beside it: 2 m links and m / 2 far ones in .links.npy, 2 m with their distances in .linked.npz."""
    return 8 * m + 4 * max(1, m // 2) + 16 * m


def grouped_bytes(inputs: Inputs, settings: IndexSettings) -> int:
    """Payload of what meets at shards: items, queries to neighbour shards, their answers, upper items."""
    vector = 4 * inputs.dimension
    neighbors = min(settings.neighbor_shards, max(0, expected_shards(inputs.items, settings) - 1))
    query, answer = vector + 4, 4 + foreign_links(settings) * 8
    per_item = vector + inputs.row_bytes + neighbors * (query + answer) + (vector + 4) / settings.m
    return round(inputs.items * per_item)


def shuffled_bytes(inputs: Inputs, settings: IndexSettings) -> int:
    """Payload of all elements that are grouped: what meets at shards, the sample, the answers that are measured."""
    vector, shards = 4 * inputs.dimension, expected_shards(inputs.items, settings)
    sampled = sample_size(inputs.items, shard_cap(inputs.items, settings)) * vector
    measured = settings.recall_queries * (vector + 8 + shards * 8 * 11)
    return grouped_bytes(inputs, settings) + sampled + measured


def worker_bytes(inputs: Inputs, settings: IndexSettings) -> dict[str, int]:
    """Peak memory of an SDK process, by stage.

    Counts the copies of vectors (4 d bytes an item) and of links (8 m bytes) that are held at once, fitted to peaks
    measured on shards of 5,000 and 25,000 items (`tests/unit/quality/memory_probe.py`).
    """
    vector, links, cap = 4 * inputs.dimension, 8 * settings.m, shard_cap(inputs.items, settings)
    shard = min(inputs.items, cap)
    group = min(inputs.items, math.ceil(UNEVEN * cap))
    neighbors = min(settings.neighbor_shards, max(0, expected_shards(inputs.items, settings) - 1))
    compared = _EXACT_BLOCK_BYTES + 16 * inputs.dimension * min(shard, _EXACT_ITEMS)
    held = {
        "partition": 10 * sample_size(inputs.items, cap) * vector,
        "assign": group * (8.5 * vector + 3 * inputs.row_bytes),
        "build": shard * (8.5 * vector + 6 * links),
        "link": shard * (5 * vector + 2 * links + neighbors * (3 * vector + links)) + _PRODUCTS_BYTES,
        "merge": shard * (5 * vector + (7 + 2 * neighbors) * links) + _PRODUCTS_BYTES / 2,
        "upper": inputs.items / settings.m * (8.5 * vector + links),
        "measure": shard * (1.5 * vector + 2 * links) + compared,
    }
    return {stage: BASE_BYTES + round(size) for stage, size in held.items()}


def embed_bytes(model_bytes: int, batch_bytes: int) -> int:
    """Peak memory of an SDK process that embeds, roughly: not fitted to measured peaks, as the stages of an index are.

    Args:
        model_bytes: of the files of the SavedModel; it is held once as it is read and once as it is used.
        batch_bytes: of the decoded media of a batch; as float32 they take four times as much, and a network holds the
            outputs of some layers beside them.
    """
    return BASE_BYTES + TENSORFLOW_BYTES + 2 * model_bytes + 16 * batch_bytes


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
    # Each shard is measured on its own too, with upper layers of its own.
    exact = (min(settings.recall_queries, items) + _SHARD_QUERIES) * items * times.exact_core_seconds + upper
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
