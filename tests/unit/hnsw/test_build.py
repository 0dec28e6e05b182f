"""One shard's graph."""

import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.hnsw.build import build_shard, load_graph, save_graph
from sim_transforms.hnsw.spaces import SPACES, space_of
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("items", [0, 1, 2, 5])
@pytest.mark.parametrize("dimension", [1, 5, 16])
def test_build_shard_tiny_has_a_row_an_item(space: str, items: int, dimension: int) -> None:
    settings = IndexSettings(space=space)
    graph = build_shard(space_of(space).prepare(clustered(items, dimension)), settings)
    assert graph.links.shape == (items, 2 * settings.m)
    assert graph.levels.shape == (items,)
    assert graph.links.max(initial=-1) < items


def test_build_shard_links_are_padded_at_the_end_and_never_to_itself() -> None:
    graph = build_shard(clustered(400, 8), IndexSettings(space="l2", m=4))
    used = graph.links >= 0
    assert (np.sort(~used, axis=1) == ~used).all()
    assert not (graph.links == np.arange(400)[:, None]).any()
    assert used.sum(axis=1).min() > 0


def test_build_shard_again_in_the_same_thread_is_the_same() -> None:
    vectors, settings = clustered(500, 8), IndexSettings(space="l2")
    first, again = build_shard(vectors, settings), build_shard(vectors, settings)
    np.testing.assert_array_equal(first.links, again.links)
    np.testing.assert_array_equal(first.levels, again.levels)


def test_build_shard_beside_another_build_is_the_same() -> None:
    vectors, settings = clustered(500, 8), IndexSettings(space="l2")
    alone = build_shard(vectors, settings).links
    together: dict[int, np.ndarray] = {}

    def build(number: int) -> None:
        together[number] = build_shard(vectors, settings).links

    threads = [threading.Thread(target=build, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [links.tobytes() for links in together.values()] == [alone.tobytes()] * 3


def test_graph_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    graph = build_shard(clustered(50, 4), IndexSettings(space="l2"))
    save_graph(graph, tmp_path / "g.npz")
    loaded = load_graph(tmp_path / "g.npz")
    for name in ("vectors", "links", "levels"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(graph, name))


def test_save_graph_holds_no_time(tmp_path: Path) -> None:
    save_graph(build_shard(clustered(5, 4), IndexSettings(space="l2")), tmp_path / "g.npz")
    with zipfile.ZipFile(tmp_path / "g.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
