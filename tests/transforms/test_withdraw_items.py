"""The change that takes items out, and when a patch would publish their vectors again."""

from pathlib import Path

import numpy as np
import pytest

from sim_transforms.hnsw.file_format import read_vector
from sim_transforms.settings.stages import CatalogSettings, IndexSettings, Settings
from sim_transforms.withdraw_items import settings_of_version, shown_by_centroid, withdrawal
from tests.unit.storage.published import routed_folder, some_vectors, version_folder


def test_withdrawal_deletes_the_rows_and_changes_the_catalog_digest(tmp_path: Path) -> None:
    manifest = version_folder(tmp_path, some_vectors())
    change = withdrawal(manifest, {"b": [7], "a": [9, 4]})
    assert change.deleted.tolist() == [4, 7, 9]
    assert change.deleted.dtype == np.int32
    assert (change.updates, change.fresh.num_rows) == ((), 0)
    assert change.metadata_columns == {"colour": "string"}
    assert change.digest == withdrawal(manifest, {"a": [9, 4], "b": [7]}).digest != manifest.catalog


def test_settings_of_version_keep_what_it_was_built_with(tmp_path: Path) -> None:
    manifest = routed_folder(tmp_path, some_vectors(), probe=3)
    settings = Settings(
        name="s", catalog=CatalogSettings(source="s.csv"), index=IndexSettings(space="l2", recall_target=0.5)
    )
    found = settings_of_version(manifest, settings)
    assert (found.index.space, found.index.layout, found.index.recall_target) == ("cosine", "routed", 0.9)
    assert found.search.probe == 3


@pytest.mark.parametrize(("row", "shown"), [(4, True), (5, False)])
def test_centroid_that_is_the_vector_of_an_item_is_noticed(tmp_path: Path, row: int, shown: bool) -> None:
    manifest = version_folder(tmp_path, some_vectors())
    centroids = np.stack([np.zeros(8, np.float32), read_vector(tmp_path / "index.hnsw", 4) * (1 + 1e-6)])
    np.save(tmp_path / "centroids.npy", centroids)
    assert shown_by_centroid(tmp_path, manifest, {"a": [0, row]}) is shown
