"""One shard's HNSW layer 0, the same for the same vectors wherever it is built. Two builders behind one function.

`products`: exact candidates by matrix products (`cell_search`), HNSW's diversity rule, reverse links. `insertion`: one
item after the other, by NMSLIB.
"""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sim_transforms.hnsw.cell_search import CellSearch
from sim_transforms.hnsw.cells import Cells
from sim_transforms.hnsw.file_format import NativeIndex, read_index
from sim_transforms.hnsw.kernels import add_incoming, cut_candidates, link_distances
from sim_transforms.hnsw.native import nmslib
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.records.arrays import load_array
from sim_transforms.settings.stages import IndexSettings

Array = np.ndarray[Any, Any]

# One in so many items gets far links (README of this room).
FAR_SHARE = 4
# Vectors that are handed to NMSLIB at once.
_PIECE = 4096


@dataclass(frozen=True)
class ShardGraph:
    """A shard before linking.

    Attributes:
        vectors: [n, d] float32, prepared for the space, in the order of `cells`.
        cells: of the vectors.
        levels: [n] int8, highest level of each item.
        links: [n, 2 m] int32 local rows, nearest first, padded with -1: layer 0.
        far: [n, any] int32 local rows, padded with -1, that an item must link to in the merged graph, beside or in
            place of its farthest links.
    """

    vectors: Array
    cells: Cells
    levels: Array
    links: Array
    far: Array


@dataclass(frozen=True)
class Effort:
    """How far the search for candidates goes, in proportion to ef_construction.

    A third as many exact candidates give the graph that the beam of an insertion gives (README of this room).

    Attributes:
        candidates, probes: of an item within its own shard.
        foreign_candidates, foreign_probes: in each neighbour shard.
    """

    candidates: int
    probes: int
    foreign_candidates: int
    foreign_probes: int


def effort_of(settings: IndexSettings) -> Effort:
    """The effort that settings ask for: 33 candidates of 16 cells, 16 of 8 abroad, at ef_construction 100, m 16."""
    ef, m = settings.ef_construction, settings.m
    return Effort(max(m, ef // 3), max(4, ef // 6), max(m // 2, ef // 6), max(2, ef // 12))


def build_shard(vectors: Array, cells: Cells, levels: Array, settings: IndexSettings) -> ShardGraph:
    """Builds layer 0 of n prepared vectors.

    Args:
        vectors: [n, d] float32 in the order of `cells`.
        cells: of the vectors.
        levels: [n] int8, 0 for twins.
        settings: of the index; `builder` says how.
    """
    distinct = slice(cells.distinct)
    links, far = _BUILDERS[builder_of(settings)](vectors[distinct], cells, settings)
    return ShardGraph(vectors, cells, levels, with_twins(links, cells.twins), _of_all(far, len(vectors)))


def _of_all(far: Array, items: int) -> Array:
    """Twins have no far links of their own: they repeat the links of another row."""
    return np.concatenate([far, np.full((items - len(far), far.shape[1]), -1, np.int32)])


def with_twins(links: Array, twins: Array) -> Array:
    """Adds rows that hold the same vector as one that is built: they repeat its links, and hang on it as a binary tree.

    Inserted like others they would fill each other's links, and a search would not find its way out of them.

    Args:
        links: [u, w] int32 rows below u, nearest first, padded with -1; w at least 4.
        twins: [t] int32, the row below u that row u + i repeats.

    Returns:
        [u + t, w] int32 rows, nearest first.
    """
    if not len(twins):
        return links
    items = len(links)
    order = np.argsort(twins, kind="stable")
    starts = np.searchsorted(twins[order], twins[order])
    # Members of a group are numbered: 0 is the row that is built, i has the children 2 i + 1 and 2 i + 2.
    group = np.concatenate([np.unique(twins), twins[order]])
    number = np.concatenate([np.zeros(len(group) - len(twins), int), np.arange(len(twins)) - starts + 1])
    rows = np.concatenate([np.unique(twins), order + items])
    first, size = np.searchsorted(twins[order], group), np.bincount(twins, minlength=items)[group]
    tree = np.full((len(rows), 3), -1, np.int32)
    for column, member in enumerate(((number - 1) // 2, 2 * number + 1, 2 * number + 2)):
        here = (number > 0) if column == 0 else (member <= size)
        at = np.clip(first + member - 1, 0, len(twins) - 1)
        tree[:, column] = np.where(here, np.where(member > 0, order[at] + items, group), -1)
    joined = np.concatenate([tree, links[group]], axis=1)
    packed = np.take_along_axis(joined, np.argsort(joined < 0, axis=1, kind="stable"), axis=1)
    out = np.concatenate([links, np.full((len(twins), links.shape[1]), -1, np.int32)])
    out[rows] = packed[:, : links.shape[1]]
    return out


def builder_of(settings: IndexSettings) -> str:
    """The builder that `auto` stands for: measured in the README of this room."""
    if settings.builder != "auto":
        return settings.builder
    return "insertion" if space_of(settings.space).is_inner_product else "products"


def build_by_products(vectors: Array, cells: Cells, settings: IndexSettings) -> tuple[Array, Array]:
    """Links from exact candidates: m of an item's own by the diversity rule, then incoming ones; and far links.

    Returns:
        (links [n, 2 m] int32, far [n, m / 2] int32).
    """
    space, effort = space_of(settings.space), effort_of(settings)
    rows = np.arange(len(vectors), dtype=np.int32)
    found = CellSearch(vectors, cells, space).search(vectors, effort.candidates, effort.probes, rows)
    own, gaps = cut_candidates(vectors, found, vectors, settings.m, space.is_inner_product)
    links = np.full((len(vectors), 2 * settings.m), -1, np.int32)
    links[:, : settings.m] = own
    senders, places = np.nonzero(own >= 0)
    add_links(links, own[senders, places], senders, gaps[senders, places], vectors, space.is_inner_product)
    return links, far_links(vectors, settings)


def far_links(vectors: Array, settings: IndexSettings) -> Array:
    """[n, m / 2] int32 rows, padded with -1: ways from one tight group to another.

    Nearest neighbours of an item of such a group all lie in the group. The first items of an insertion have links to
    other groups, because their own is not there yet; so some items, one in FAR_SHARE, get the farthest of their links
    in a graph of such items alone that NMSLIB inserts in shuffled order. They must be kept apart: among near
    candidates the diversity rule drops them.
    """
    far = np.full((len(vectors), max(1, settings.m // 2)), -1, np.int32)
    chosen = np.random.default_rng(settings.seed + 1).permutation(len(vectors))[: len(vectors) // FAR_SHARE]
    if len(chosen) < 2:
        return far
    rows = np.sort(chosen).astype(np.int32)
    # Where these links lead matters little, so half the effort is enough.
    eased = replace(settings, ef_construction=max(settings.m, settings.ef_construction // 2))
    links = insert_all(np.ascontiguousarray(vectors[rows]), eased, settings.m)
    counts = (links >= 0).sum(axis=1)
    places = counts[:, None] - 1 - np.arange(far.shape[1])
    farthest = np.take_along_axis(links, np.maximum(places, 0), axis=1)
    far[rows] = np.where(places >= 0, rows[farthest], -1)
    return far


def add_links(
    links: Array, receivers: Array, senders: Array, gaps: Array, vectors: Array, inner_product: bool
) -> Array:
    """Adds senders to the links of receivers in place, cut by the diversity rule where they do not fit.

    Args:
        links: [n, w] int32 rows of `vectors`, padded with -1.
        receivers: [e] rows below n; senders: [e] rows of `vectors`; gaps: [e] float32 distances between them.
        vectors: [n + q, d] float32.
        inner_product: whether distances are minus inner products.

    Returns:
        [n, w] float32 distances of the links, infinite where there is none.
    """
    order = np.argsort(receivers, kind="stable")
    kept = link_distances(links, vectors, vectors, inner_product)
    ordered = (receivers[order].astype(np.int32), senders[order].astype(np.int32), gaps[order])
    add_incoming(links, kept, *ordered, vectors, inner_product)
    return kept


def build_by_insertion(vectors: Array, cells: Cells, settings: IndexSettings) -> tuple[Array, Array]:
    """[n, 2 m] int32 links as NMSLIB makes them; [n, 0]: there are far ones among them."""
    return insert_all(vectors, settings, 2 * settings.m), np.zeros((len(vectors), 0), np.int32)


def insert_all(vectors: Array, settings: IndexSettings, max_m0: int) -> Array:
    """[n, max_m0] int32 links of NMSLIB's own build, nearest first, padded with -1.

    Items go in in a shuffled order: rows stand in the order of cells, and inserted like that the first items would not
    get the far links by which a search finds its way from one group to another.
    """
    if not len(vectors):
        return np.zeros((0, max_m0), np.int32)
    order = np.random.default_rng(settings.seed).permutation(len(vectors)).astype(np.int32)
    shuffled = native_links(vectors, order, settings, max_m0)
    links = np.empty_like(shuffled)
    links[order] = np.where(shuffled >= 0, order[shuffled], -1)
    gaps = link_distances(links, vectors, vectors, space_of(settings.space).is_inner_product)
    return np.ascontiguousarray(np.take_along_axis(links, np.argsort(gaps, axis=1, kind="stable"), axis=1))


_BUILDERS: dict[str, Callable[[Array, Cells, IndexSettings], tuple[Array, Array]]] = {
    "products": build_by_products,
    "insertion": build_by_insertion,
}


def native_links(vectors: Array, order: Array, settings: IndexSettings, max_m0: int) -> Array:
    """[n, max_m0] int32 links of layer 0 of NMSLIB's own build of n >= 1 vectors, padded with -1.

    Its generator of levels is local to a thread and goes on from build to build: hence one thread, made for this build.

    Args:
        vectors: [n, d] float32.
        order: [n] int32, the row that is inserted first, second, ...; links are places in it.
        settings: of the index.
        max_m0: most links of an item.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.hnsw"
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_build, vectors, order, settings, max_m0, path).result()
        return layer0(read_index(path))


def _build(vectors: Array, order: Array, settings: IndexSettings, max_m0: int, path: Path) -> None:
    index = nmslib.init(method="hnsw", space=space_of(settings.space).nmslib_space)
    # In pieces: NMSLIB copies what it is given, and a shuffled copy of all would be one more.
    for start in range(0, len(order), _PIECE):
        rows = order[start : start + _PIECE]
        index.addDataPointBatch(vectors[rows], np.arange(start, start + len(rows), dtype=np.int32))
    parameters = {"M": settings.m, "maxM0": max_m0, "efConstruction": settings.ef_construction}
    index.createIndex({**parameters, "indexThreadQty": 1, "post": 0})
    index.saveIndex(str(path), save_data=False)


def layer0(index: NativeIndex) -> Array:
    """[n, maxM0] int32 links of layer 0, padded with -1."""
    links = np.array(index.records["links"])
    unused = np.arange(links.shape[1])[None, :] >= index.records["count"][:, None]
    links[unused] = -1
    return links


def save_links(graph: ShardGraph, path: Path) -> None:
    """Writes the links and the far ones beside each other as one .npy file."""
    # Through a file: given a path, numpy adds .npy to a name that lacks it.
    with path.open("wb") as file:
        np.save(file, np.concatenate([graph.links, graph.far], axis=1))


def load_links(path: Path, m: int) -> tuple[Array, Array]:
    """([n, 2 m], [n, any] int32), links and far ones, as `save_links` wrote them."""
    both = load_array(path)
    return np.ascontiguousarray(both[:, : 2 * m]), np.ascontiguousarray(both[:, 2 * m :])
