"""The native file written and read back: nothing lost, nothing twice, the same bytes whatever the shards."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sim_transforms.hnsw.file_format import (
    HEADER_BYTES,
    NativeIndex,
    header_bytes,
    read_index,
    read_vector,
    record_bytes,
    upper_bytes,
)
from sim_transforms.hnsw.upper import UpperLayers, no_upper_layers
from sim_transforms.settings.stages import IndexSettings

SOME = settings(max_examples=80, deadline=None, derandomize=True)
VALUES = st.floats(-(2.0**59), 2.0**59, width=32, allow_subnormal=False)


@dataclass(frozen=True)
class Graph:
    """Any graph that the format can hold: vectors [n, d], links [n, 2 m] padded with -1, levels [n], upper links."""

    settings: IndexSettings
    vectors: Any
    links: Any
    levels: Any
    upper: UpperLayers


@st.composite
def graphs(draw: Any) -> Graph:
    items, dimension, m = draw(st.integers(0, 24)), draw(st.integers(1, 20)), draw(st.integers(2, 5))
    space = draw(st.sampled_from(["l2", "inner_product"]))
    vectors = draw(arrays.arrays(np.float32, (items, dimension), elements=VALUES))
    levels = draw(arrays.arrays(np.int32, items, elements=st.sampled_from([0, 0, 0, 1, 1, 3])))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    links = np.full((items, 2 * m), -1, np.int32)
    for row in range(items):
        chosen = _some_rows(generator, np.delete(np.arange(items), row), 2 * m)
        links[row, : len(chosen)] = chosen
    return Graph(IndexSettings(space=space, m=m), vectors, links, levels, _upper(generator, levels, m))


def _some_rows(generator: np.random.Generator, rows: Any, most: int) -> Any:
    return generator.permutation(rows)[: generator.integers(0, most + 1)]


def _upper(generator: np.random.Generator, levels: Any, m: int) -> UpperLayers:
    rows = np.flatnonzero(levels).astype(np.int32)
    if not len(rows):
        return no_upper_layers()
    blocks = [_block(generator, levels, row, level, m) for row in rows for level in range(1, levels[row] + 1)]
    starts = np.concatenate([[0], np.cumsum(levels[rows].astype(np.int64) * (m + 1))])[:-1]
    return UpperLayers(int(levels.max()), int(levels.argmax()), rows, levels[rows], np.concatenate(blocks), starts)


def _block(generator: np.random.Generator, levels: Any, row: int, level: int, m: int) -> Any:
    others = np.flatnonzero(levels >= level)
    chosen = _some_rows(generator, others[others != row], m)
    block = np.zeros(m + 1, np.int32)
    block[0], block[1 : 1 + len(chosen)] = len(chosen), chosen
    return block


def _written(graph: Graph, cuts: list[int]) -> bytes:
    """The file written shard by shard; `cuts` are the first rows of all shards but the first."""
    items, dimension = graph.vectors.shape
    ranges = list(pairwise([0, *sorted(cuts), items]))
    return b"".join(
        [
            header_bytes(items, dimension, graph.settings, graph.upper),
            *(record_bytes(graph.vectors[low:high], low, graph.links[low:high]) for low, high in ranges),
            *(upper_bytes(low, high - low, graph.upper, graph.settings) for low, high in ranges),
        ]
    )


def _read(data: bytes) -> tuple[NativeIndex, list[Any]]:
    """The index and the vectors of all rows, read one by one."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "index.hnsw"
        path.write_bytes(data)
        index = read_index(path)
        vectors = [read_vector(path, row) for row in range(index.header.items)]
        kept = NativeIndex(index.header, np.array(index.records), index.levels, np.array(index.upper), index.starts)
    return kept, vectors


@given(graphs())
@SOME
def test_read_index_gives_back_vectors_links_and_levels(graph: Graph) -> None:
    index, vectors = _read(_written(graph, []))
    used = np.arange(graph.links.shape[1]) < index.records["count"][:, None]
    assert index.records["vector"].tobytes() == graph.vectors.tobytes()
    assert b"".join(v.tobytes() for v in vectors) == graph.vectors.tobytes()
    np.testing.assert_array_equal(np.where(used, index.records["links"], -1), graph.links)
    np.testing.assert_array_equal(index.levels, graph.levels)


@given(graphs())
@SOME
def test_read_index_gives_back_every_upper_block_once(graph: Graph) -> None:
    index, _ = _read(_written(graph, []))
    width = graph.settings.m + 1
    read = [index.upper[s : s + level * width] for s, level in zip(index.starts, index.levels, strict=True)]
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.int32), *read]), graph.upper.links)
    assert len(index.upper) == (len(graph.levels) + len(graph.upper.links))


@given(graphs())
@SOME
def test_read_index_gives_back_the_header(graph: Graph) -> None:
    header = _read(_written(graph, []))[0].header
    items, dimension = graph.vectors.shape
    assert (header.items, header.dimension) == (items, dimension)
    assert (header.max_level, header.entry_row) == (graph.upper.max_level, graph.upper.entry_row)
    assert (header.max_m, header.max_m0) == (graph.settings.m, 2 * graph.settings.m)
    assert header.is_inner_product == (graph.settings.space == "inner_product")


@given(graphs())
@SOME
def test_sizes_are_those_that_the_table_draws(graph: Graph) -> None:
    items, dimension = graph.vectors.shape
    m = graph.settings.m
    records = record_bytes(graph.vectors, 0, graph.links)
    upper = upper_bytes(0, items, graph.upper, graph.settings)
    assert len(header_bytes(items, dimension, graph.settings, graph.upper)) == HEADER_BYTES == 68
    assert len(records) == items * (16 + 4 * dimension + 4 + 4 * 2 * m)
    assert len(upper) == 4 * items + 4 * (m + 1) * int(graph.levels.sum())


@given(graphs(), st.data())
@SOME
def test_file_written_in_shards_has_the_same_bytes(graph: Graph, data: Any) -> None:
    # Cuts may fall together: a shard may be empty.
    cuts = data.draw(st.lists(st.integers(0, len(graph.vectors)), max_size=6))
    assert _written(graph, cuts) == _written(graph, [])
