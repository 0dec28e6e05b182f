"""Items that must go from a published version -> the change that takes them out, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sim_transforms.diff_catalog import Difference, Place
from sim_transforms.hnsw.file_format import read_vector
from sim_transforms.hnsw.open_index import CENTROIDS
from sim_transforms.publish_patch import CatalogChange, catalog_digest
from sim_transforms.records.arrays import load_array
from sim_transforms.records.batches import embeddings_schema
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.settings.stages import Settings


def withdrawal(manifest: VersionManifest, rows: Mapping[str, Sequence[int]]) -> CatalogChange:
    """The change that deletes items.

    Args:
        manifest: of the version.
        rows: item -> its row, or those of a sound's clips.
    """
    columns = manifest.metadata_columns
    fresh = embeddings_schema(manifest.dimension, columns).empty_table()
    gone = [
        Difference("removed", item_id, tuple(Place(row, item_id) for row in of), "", None)
        for item_id, of in sorted(rows.items())
    ]
    return CatalogChange(
        deleted=np.array(sorted(row for of in rows.values() for row in of), np.int32),
        updates=(),
        fresh=fresh,
        metadata_columns=columns,
        digest=catalog_digest(manifest, gone, fresh),
    )


def settings_of_version(manifest: VersionManifest, settings: Settings) -> Settings:
    """The settings with what a version was built with, so that taking items out changes nothing else."""
    known = {name: value for name, value in manifest.parameters.items() if hasattr(settings.index, name)}
    known |= {"space": manifest.space, "recall_target": manifest.recall_target}
    index = replace(settings.index, **known)
    probe = manifest.parameters.get("probe", settings.search.probe)
    return replace(settings, index=index, search=replace(settings.search, probe=probe))


def shown_by_centroid(folder: Path, manifest: VersionManifest, rows: Mapping[str, Sequence[int]]) -> bool:
    """Whether the centroid of a shard is the vector of one of the items, as that of a shard with one item is.

    A patch keeps the centroids, and would publish such a vector again; of layout routed it is not asked.
    """
    if manifest.index is None:
        return False
    centroids = load_array(folder / CENTROIDS)
    vectors = (read_vector(folder / "index.hnsw", row) for of in rows.values() for row in of)
    return any(bool(np.isclose(centroids, vector, rtol=1e-4, atol=1e-6).all(axis=1).any()) for vector in vectors)
