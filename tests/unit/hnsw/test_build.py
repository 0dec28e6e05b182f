"""One shard's graph."""

import threading
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.hnsw.build import Effort, build_by_products, effort_of, far_links, load_links, save_links
from sim_transforms.hnsw.cell_search import CellSearch
from sim_transforms.hnsw.cells import Cells
from sim_transforms.hnsw.kernels import put_far
from sim_transforms.hnsw.levels import draw_levels
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, shard_of_all, wide_distances


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("items", [0, 1, 2, 5])
@pytest.mark.parametrize("dimension", [1, 5, 16])
def test_build_shard_tiny_has_a_row_an_item(space: str, items: int, dimension: int) -> None:
    settings = IndexSettings(space=space)
    graph = shard_of_all(space_of(space).prepare(clustered(items, dimension)), settings)
    assert graph.links.shape == (items, 2 * settings.m)
    assert graph.levels.shape == (items,)
    assert graph.links.max(initial=-1) < items


def test_build_shard_links_are_padded_at_the_end_and_never_to_itself() -> None:
    graph = shard_of_all(clustered(400, 8), IndexSettings(space="l2", m=4))
    used = graph.links >= 0
    assert (np.sort(~used, axis=1) == ~used).all()
    assert not (graph.links == np.arange(400)[:, None]).any()
    assert used.sum(axis=1).min() > 0


def test_build_shard_again_in_the_same_thread_is_the_same() -> None:
    vectors, settings = clustered(500, 8), IndexSettings(space="l2")
    first, again = shard_of_all(vectors, settings), shard_of_all(vectors, settings)
    np.testing.assert_array_equal(first.links, again.links)
    np.testing.assert_array_equal(first.levels, again.levels)


def test_build_shard_beside_another_build_is_the_same() -> None:
    vectors, settings = clustered(500, 8), IndexSettings(space="l2")
    alone = shard_of_all(vectors, settings).links
    together: dict[int, np.ndarray] = {}

    def build(number: int) -> None:
        together[number] = shard_of_all(vectors, settings).links

    threads = [threading.Thread(target=build, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [links.tobytes() for links in together.values()] == [alone.tobytes()] * 3


def test_links_saved_and_loaded_are_the_same(tmp_path: Path) -> None:
    graph = shard_of_all(clustered(50, 4), IndexSettings(space="l2"))
    save_links(graph, tmp_path / "links")
    links, far = load_links(tmp_path / "links", 16)
    np.testing.assert_array_equal(links, graph.links)
    np.testing.assert_array_equal(far, graph.far)


@pytest.mark.parametrize("space", SPACES)
def test_build_by_products_own_links_are_the_exact_nearest_by_the_rule(space: str) -> None:
    settings = IndexSettings(space=space, m=4, ef_construction=30)
    vectors = space_of(space).prepare(clustered(300, 8))
    rows = np.arange(300, dtype=np.int32)
    cells = Cells(vectors[:1], np.array([0, 300]), np.zeros(0, np.int32))
    found = CellSearch(vectors, cells, space_of(space)).search(vectors, 10, 4, rows)
    gaps = wide_distances(space, vectors, vectors)
    np.fill_diagonal(gaps, np.inf)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(np.argsort(gaps, axis=1)[:, :10], axis=1))
    links, _ = build_by_products(vectors, cells, settings)
    nearest = np.argmin(gaps, axis=1)
    # The nearest always survives the rule, unless incoming links push it out of a full list.
    assert np.mean([near in own for near, own in zip(nearest, links, strict=True)]) >= 0.99


def test_far_links_lead_from_one_item_in_four_to_others_once() -> None:
    vectors = space_of("l2").prepare(clustered(400, 8))
    far = far_links(vectors, IndexSettings(space="l2"))
    assert far.shape == (400, 8)
    assert ((far >= 0).any(axis=1)).sum() == 100
    for row, line in enumerate(far):
        used = line[line >= 0].tolist()
        assert row not in used
        assert len(set(used)) == len(used)


def test_put_far_fills_free_places_then_takes_the_farthest() -> None:
    links = np.array([[1, 2, -1, -1], [1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]], np.int32)
    far = np.array([[9, 2], [9, 8], [4, 9], [-1, -1]], np.int32)
    put_far(links, far)
    assert links.tolist() == [[1, 2, 9, -1], [1, 2, 9, 8], [1, 2, 3, 4], [5, 6, 7, 8]]


def test_effort_of_the_defaults_is_a_third_and_a_sixth() -> None:
    assert effort_of(IndexSettings()) == Effort(33, 16, 16, 8)


def test_levels_follow_the_share_of_one_in_m() -> None:
    levels = draw_levels([f"item-{row}" for row in range(20000)], 16, 0)
    assert abs((levels >= 1).mean() - 1 / 16) < 0.005
    assert abs((levels >= 2).mean() - 1 / 256) < 0.002


def test_levels_depend_on_id_and_seed_alone() -> None:
    ids = [f"item-{row}" for row in range(500)]
    levels = draw_levels(ids, 4, 0)
    np.testing.assert_array_equal(draw_levels(ids[::-1], 4, 0)[::-1], levels)
    assert (draw_levels(ids, 4, 1) != levels).any()


@pytest.mark.parametrize("copies", [1, 2, 3, 40])
def test_build_shard_copies_hang_on_the_first_and_repeat_its_links(copies: int) -> None:
    vectors = np.concatenate([clustered(60, 6), np.repeat(clustered(60, 6)[5:6], copies, axis=0)])
    graph = shard_of_all(vectors, IndexSettings(space="l2", m=8))
    assert graph.cells.distinct == 60
    source = int(graph.cells.twins[0])
    assert set(graph.cells.twins.tolist()) == {source}
    reached, pending = set(), [source]
    while pending:
        row = pending.pop()
        if row not in reached and (row == source or row >= 60):
            reached.add(row)
            pending += graph.links[row][graph.links[row] >= 0].tolist()
    assert reached == {source, *range(60, 60 + copies)}
    own = set(graph.links[source].tolist()) - {-1}
    for row in range(60, 60 + copies):
        assert len(own & set(graph.links[row].tolist())) >= 5
