"""A published version answers queries, says what is wrong with them, and needs neither Beam nor TensorFlow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.errors import NotFound, UsageError
from sim_transforms.lookup.open import OpenVersion, open_version
from tests.unit.storage.published import published_store, some_vectors

_WITHOUT = """
import sys
sys.modules.update({name: None for name in ("tensorflow", "apache_beam", "keras", "tensorflow_transform", "tfx_bsl")})
from sim_transforms.lookup.open import open_version
print([m.item_id for m in open_version(sys.argv[1]).search_item("item-3", 3)])
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenVersion:
    store, _ = published_store(tmp_path_factory.mktemp("lookup"), some_vectors())
    return open_version(store.url)


def test_search_finds_the_exact_neighbours_with_metadata(opened: OpenVersion) -> None:
    vectors = some_vectors()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - unit @ unit[7]
    (matches,) = opened.search(vectors[7:8] * 3, 5)
    assert [m.item_id for m in matches] == [f"item-{i}" for i in np.argsort(distances)[:5]]
    np.testing.assert_allclose([m.distance for m in matches], np.sort(distances)[:5], atol=1e-5)
    assert matches[0].metadata == {"colour": "red"}


def test_search_more_than_there_are_gives_all(opened: OpenVersion) -> None:
    (matches,) = opened.search(some_vectors()[:1], 500)
    assert len({m.item_id for m in matches}) == 60


def test_search_item_leaves_the_item_out(opened: OpenVersion) -> None:
    assert "item-7" not in [m.item_id for m in opened.search_item("item-7", 10)]


def test_vector_of_is_the_prepared_vector(opened: OpenVersion) -> None:
    vector = some_vectors()[12]
    np.testing.assert_allclose(opened.vector_of("item-12"), vector / np.linalg.norm(vector), atol=1e-6)


def test_vector_of_unknown_item_is_not_found(opened: OpenVersion) -> None:
    with pytest.raises(NotFound, match="nobody"):
        opened.vector_of("nobody")


@pytest.mark.parametrize("query", [np.zeros((1, 8)), np.full((1, 8), np.nan), np.ones((1, 9)), np.ones(8)])
def test_search_impossible_query_is_wrong_usage(opened: OpenVersion, query: np.ndarray) -> None:
    with pytest.raises(UsageError):
        opened.search(query, 3)


def test_no_match_beyond_the_calibrated_threshold(opened: OpenVersion) -> None:
    near, far = opened.search(np.stack([some_vectors()[0], -opened.vector_of("item-0")]), 1)
    assert not opened.no_match(near)
    assert opened.no_match([m for m in far if m.distance > 0.2])


def test_open_version_empty_store_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing is published"):
        open_version(str(tmp_path))


def test_lookup_searches_where_beam_and_tensorflow_cannot_be_imported(opened: OpenVersion) -> None:
    store = str(opened.folder.parent.parent)
    done = subprocess.run([sys.executable, "-c", _WITHOUT, store], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([m.item_id for m in opened.search_item("item-3", 3)])
    assert done.stderr == ""
