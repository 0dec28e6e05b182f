"""Searches a native file as if one of its rows were not there: what a query that was never indexed would find.

An indexed item is found too easily by itself: its own links were chosen for it, and leaving it out of the answer does
not take them away. A walk that never steps on the query's own row has only the links that lead to its neighbours from
elsewhere. Where a row links to it, the walk takes the nearest of its links in its place, as a patch would that deletes
it; without that a row that is the only way to its neighbours, as all are in one dimension, would cut them off. NMSLIB
has no such search; this one is the same beam (Malkov & Yashunin 2018, algorithms 2 and 5), compiled, over the mapped
file, so that it costs little memory.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from sim_transforms.hnsw.file_format import NativeIndex, read_index
from sim_transforms.hnsw.kernels import distance

Array = np.ndarray[Any, Any]

NO_ROW = np.int32(-1)
# Words of a record before its vector: id, label, vector bytes.
_AHEAD = 4


class Graph(NamedTuple):
    """A checked file as flat words.

    Attributes:
        words, floats: [n * record words] the records, twice the same memory.
        upper: [w] int32 and starts: [n] int64, as in `NativeIndex`.
        record: words of a record.
        dimension: of the vectors.
        entry, top: row at which walks start, and its level.
        width: words of a row's links in one upper layer.
        inner_product: whether distances are minus inner products.
    """

    words: Array
    floats: Array
    upper: Array
    starts: Array
    record: int
    dimension: int
    entry: int
    top: int
    width: int
    inner_product: bool


def open_graph(path: Path) -> Graph:
    """Maps a file of at least one item and checks it whole, so that no walk leaves it.

    Raises:
        DamagedArtefact: see `read_index`.
    """
    return graph_of(read_index(path))


def graph_of(index: NativeIndex) -> Graph:
    """The words of an opened file."""
    header, records = index.header, np.asarray(index.records)
    words = records.view("<i4").reshape(-1)
    shape = (records.itemsize // 4, header.dimension, header.entry_row, header.max_level, header.max_m + 1)
    return Graph(words, words.view("<f4"), index.upper, index.starts, *shape, header.is_inner_product)


def walk(graph: Graph, queries: Array, without: Array, k: int, ef_search: int) -> tuple[Array, Array]:
    """Nearest rows of each query that a beam of ef_search finds as if one row had been deleted.

    Args:
        graph: of the file.
        queries: [q, d] float32, prepared for the space.
        without: [q] int32 row that each query may not touch, -1 for none.
        k: rows wanted.
        ef_search: width of the beam, at least k.

    Returns:
        (rows [q, k] int32, native distances [q, k] float32), nearest first, ties to the lower row; -1 and infinity
        where there are fewer.
    """
    return _walk(graph, np.ascontiguousarray(queries, np.float32), np.asarray(without, np.int32), k, max(k, ef_search))


class _Beam(NamedTuple):
    """The nearest rows so far, ascending by (distance, row): rows, gaps and whether their links were followed."""

    rows: Array
    gaps: Array
    followed: Array


@numba.njit(cache=True, nogil=True)
def _walk(graph: Graph, queries: Array, without: Array, k: int, ef: int) -> tuple[Array, Array]:
    found = np.full((len(queries), k), NO_ROW, np.int32)
    gaps = np.full((len(queries), k), np.float32(np.inf), np.float32)
    seen = np.full(len(graph.starts), NO_ROW, np.int32)
    # One place more than the beam: a row is put in before the farthest falls out.
    beam = _Beam(np.empty(ef + 1, np.int32), np.empty(ef + 1, np.float32), np.empty(ef + 1, np.bool_))
    for place in range(len(queries)):
        query, own = queries[place], without[place]
        start = _descend(graph, query, own)
        held = _follow(graph, query, own, start, beam, seen, place)
        count = 0
        for at in range(held):
            if count < k and beam.rows[at] != own:
                found[place, count], gaps[place, count] = beam.rows[at], beam.gaps[at]
                count += 1
    return found, gaps


@numba.njit(cache=True, nogil=True)
def _vector(graph: Graph, row: int) -> Array:
    start = row * graph.record + _AHEAD
    return graph.floats[start : start + graph.dimension]


@numba.njit(cache=True, nogil=True)
def _gap(graph: Graph, query: Array, row: int, own: int) -> np.float32:
    """Distance of a row; infinite for the one that may not be touched, where it is the entry point."""
    if row == own:
        return np.float32(np.inf)
    return distance(query, _vector(graph, row), graph.inner_product)


@numba.njit(cache=True, nogil=True)
def _links(graph: Graph, row: int) -> Array:
    """Links of a row in layer 0."""
    count = row * graph.record + _AHEAD + graph.dimension
    return graph.words[count + 1 : count + 1 + graph.words[count]]


@numba.njit(cache=True, nogil=True)
def _instead(graph: Graph, own: int, owner: int, links: Array, lost: Array) -> int:
    """The link that a row gets in place of `own`, whose links are `lost`: see `patch_kernels.repair`.

    The nearest of those that the row does not link to, by the diversity rule; -1 where it needs none.
    """
    best, least = -1, np.float32(np.inf)
    vector = _vector(graph, owner)
    for link in lost:
        row = int(link)
        if row == owner or (links == row).any():
            continue
        gap = distance(vector, _vector(graph, row), graph.inner_product)
        if gap < least and not _is_covered(graph, row, gap, links, own):
            best, least = row, gap
    return best


@numba.njit(cache=True, nogil=True)
def _is_covered(graph: Graph, row: int, gap: np.float32, links: Array, own: int) -> bool:
    """Whether a link that stays is nearer to a row than its owner, `gap` away, is."""
    vector = _vector(graph, row)
    for link in links:  # noqa: SIM110 - a generator does not compile
        if link != own and distance(vector, _vector(graph, int(link)), graph.inner_product) < gap:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _descend(graph: Graph, query: Array, own: int) -> int:
    """The row that greedy steps through the upper layers lead to."""
    at = graph.entry
    best = _gap(graph, query, at, own)
    for level in range(graph.top, 0, -1):
        moved = True
        while moved:
            moved = False
            start = graph.starts[at] + (level - 1) * graph.width
            links = graph.upper[start + 1 : start + 1 + graph.upper[start]]
            for link in links:
                row = int(link)
                if row == own:
                    first = graph.starts[own] + (level - 1) * graph.width
                    row = _instead(graph, own, at, links, graph.upper[first + 1 : first + 1 + graph.upper[first]])
                if row < 0:
                    continue
                gap = _gap(graph, query, row, own)
                if gap < best:
                    best, at, moved = gap, row, True
    return at


@numba.njit(cache=True, nogil=True)
def _follow(graph: Graph, query: Array, own: int, start: int, beam: _Beam, seen: Array, mark: int) -> int:
    """Fills the beam from `start` along layer 0; returns how many rows it holds."""
    ef = len(beam.rows) - 1
    beam.rows[0], beam.gaps[0], beam.followed[0] = start, _gap(graph, query, start, own), False
    seen[start] = mark
    if own >= 0:
        seen[own] = mark
    held, at, bridged = 1, 0, False
    while True:
        while at < held and beam.followed[at]:
            at += 1
        if at < held:
            owner, beam.followed[at] = int(beam.rows[at]), True
        elif own >= 0 and not bridged and held < ef:
            # All that can be reached is: over the row itself, as where it is the hub of a few others.
            owner, bridged = own, True
        else:
            return held
        links, lowest = _links(graph, owner), at + 1
        for link in links:
            row = int(link)
            if row == own and owner != own:
                row = _instead(graph, own, owner, links, _links(graph, own))
            if row < 0 or seen[row] == mark:
                continue
            seen[row] = mark
            gap = _gap(graph, query, row, own)
            if held < ef or gap < beam.gaps[held - 1]:
                lowest = min(lowest, _put(beam, held, row, gap))
                held = min(held + 1, ef)
        at = min(at, lowest) if owner == own else lowest


@numba.njit(cache=True, nogil=True)
def _put(beam: _Beam, held: int, row: int, gap: np.float32) -> int:
    """Puts a row into its place among `held` sorted ones; returns the place."""
    place = held
    while place > 0 and (beam.gaps[place - 1] > gap or (beam.gaps[place - 1] == gap and beam.rows[place - 1] > row)):
        beam.rows[place], beam.gaps[place] = beam.rows[place - 1], beam.gaps[place - 1]
        beam.followed[place] = beam.followed[place - 1]
        place -= 1
    beam.rows[place], beam.gaps[place], beam.followed[place] = row, gap, False
    return place
