"""Files and vectors that would give wrong answers without a word."""

from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.hnsw.file_format import HEADER_BYTES, header_bytes, read_header, read_index
from sim_transforms.hnsw.search import NativeSearcher
from sim_transforms.hnsw.spaces import space_of
from sim_transforms.hnsw.upper import no_upper_layers
from sim_transforms.hnsw.whole import build_whole
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered, nearest_rows, recall


def test_searcher_empty_file_where_items_are_expected_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(header_bytes(0, 8, IndexSettings(), no_upper_layers()))
    with pytest.raises(DamagedArtefact, match="0 items of dimension 8; expected 100 of 8"):
        NativeSearcher(tmp_path / "i", "cosine", 100, 8)


@pytest.mark.parametrize(("built", "asked"), [("l2", "inner_product"), ("inner_product", "cosine")])
def test_searcher_file_of_another_space_is_refused(built: str, asked: str, tmp_path: Path) -> None:
    build_whole(clustered(50, 8), IndexSettings(space=built), tmp_path / "i")
    with pytest.raises(DamagedArtefact, match=f"not built for space {asked}"):
        NativeSearcher(tmp_path / "i", asked, 50, 8)


@pytest.mark.parametrize("space", ["l2", "inner_product"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38, -1e19])
def test_searcher_query_whose_distances_would_not_be_finite_is_refused(
    space: str, value: float, tmp_path: Path
) -> None:
    build_whole(clustered(50, 8), IndexSettings(space=space), tmp_path / "i")
    searcher = NativeSearcher(tmp_path / "i", space, 50, 8)
    query = np.ones((2, 8), np.float32)
    query[1, 3] = value
    with pytest.raises(UsageError, match=r"a query is not finite, or longer than 2\^62"):
        searcher.search(query, 3, 10)


@pytest.mark.parametrize("space", ["l2", "inner_product"])
def test_longest_vectors_that_are_taken_have_finite_distances(space: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(60, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * 2.0**61.99).astype(np.float32)
    assert space_of(space).reject_reasons(vectors) == [None] * 60
    assert space_of(space).reject_reasons(vectors * np.float32(1.1)) == ["too_long"] * 60
    build_whole(vectors, IndexSettings(space=space), tmp_path / "i")
    _, distances = NativeSearcher(tmp_path / "i", space, 60, 8).search(-vectors, 60, 60)
    assert np.isfinite(distances).all()


def test_read_header_missing_file_is_a_damaged_artefact(tmp_path: Path) -> None:
    with pytest.raises(DamagedArtefact, match="there is no such file"):
        read_header(tmp_path / "nothing")


def test_read_index_label_that_nmslib_never_writes_is_refused(tmp_path: Path) -> None:
    build_whole(clustered(50, 8), IndexSettings(), tmp_path / "i")
    data = bytearray((tmp_path / "i").read_bytes())
    data[HEADER_BYTES + 4] = 0
    (tmp_path / "i").write_bytes(data)
    with pytest.raises(DamagedArtefact, match="record of row 0 at byte 68: id, label"):
        read_index(tmp_path / "i")


@pytest.mark.parametrize("offset", [0, 100, 1000])
def test_native_distances_far_from_the_origin_give_the_same_neighbours(offset: int) -> None:
    base, queries = (clustered(count, 32, seed=count) + np.float32(offset) for count in (2000, 60))
    found = np.argsort(space_of("l2").native_distances(queries, base), axis=1)[:, :10]
    assert recall(found, nearest_rows("l2", queries, base, 10)) >= 0.999
