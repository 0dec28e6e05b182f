"""The index job with layout routed against the same functions called one after the other, and its gate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sim_transforms.errors import RecallError
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.publish_version import assemble_version, make_manifest, measure_speed, publish_version
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.settings.stages import IndexSettings, SearchSettings
from sim_transforms.storage.local import LocalStore
from tests.transforms.test_build_index import ITEMS, _build, _vectors
from tests.unit.hnsw.plain_shards import plain_shards

pytestmark = pytest.mark.slow

ROUTED = IndexSettings(layout="routed", shard_items=100, recall_target=0.9)


def _assemble(folder: Path, vectors: np.ndarray, settings: IndexSettings, search: SearchSettings) -> VersionManifest:
    built, embeddings, version = _build(folder, vectors, settings)
    sizes = assemble_version(version, str(folder / "parts"), built.outcome.plans, settings.layout)
    manifest = make_manifest(version, sizes, built.outcome, embeddings, settings, None, search)
    assert measure_speed(version, built.outcome.exact, manifest, search)["queries_per_second"] > 0
    return manifest


@pytest.mark.parametrize("space", ["cosine", "l2", "inner_product"])
def test_build_index_routed_on_beam_equals_the_plain_functions(space: str, tmp_path: Path) -> None:
    settings = replace(ROUTED, space=space)
    vectors = _vectors()
    built, _, version = _build(tmp_path, vectors, settings)
    assert assemble_version(version, str(tmp_path / "parts"), built.outcome.plans, "routed") == []
    index, order = plain_shards(vectors, settings, tmp_path / "plain", [f"item-{row:05d}" for row in range(ITEMS)])
    found = sorted(p.name for p in (version / "shards").iterdir())
    assert found == [s.path.name for s in index.shards]
    for shard in index.shards:
        assert (version / shard.entry.name).read_bytes() == shard.path.read_bytes()
    for name in ("centroids.npy", "longest.npy"):
        assert (version / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    items = pq.read_table(version / "items.parquet").column("item_id").to_pylist()
    assert items == [f"item-{row:05d}" for row in order]
    assert not (version / "index.hnsw").exists()
    assert not list((tmp_path / "parts").glob("records-*"))


def test_build_index_routed_is_published_searched_and_verified(tmp_path: Path) -> None:
    vectors = _vectors()
    manifest = _assemble(tmp_path, vectors, ROUTED, SearchSettings(probe=3, memory_budget_mib=1))
    store = LocalStore(str(tmp_path / "store"))
    version = publish_version(store, tmp_path / "version", manifest)
    assert verify_version(store, version) == []
    opened = open_version(store.url, memory_budget_mib=1)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = [f"item-{row:05d}" for row in np.argsort(1 - unit @ unit[5], kind="stable")[:5]]
    assert [m.item_id for m in opened.search(vectors[5:6], 5)[0]] == expected
    assert [m.item_id for m in opened.search_item("item-00005", 4)] == expected[1:]


def test_build_index_routed_manifest_tells_layout_probe_recall_and_files(tmp_path: Path) -> None:
    manifest = _assemble(tmp_path, _vectors(), ROUTED, SearchSettings(probe=3))
    assert manifest.index is None
    assert (manifest.parameters["layout"], manifest.parameters["probe"]) == ("routed", 3)
    assert [e.name for e in manifest.shard_files] == [f"shards/{n:06d}.hnsw" for n in range(len(manifest.row_ranges))]
    assert sum(r.end_row - r.first_row for r in manifest.row_ranges) == manifest.items == ITEMS
    assert manifest.index_bytes == sum(p.stat().st_size for p in (tmp_path / "version" / "shards").iterdir())
    assert {r.k for r in manifest.recall} == {1, 10}
    assert len(manifest.canaries) == 16
    assert VersionManifest.parse(manifest.text(), "again") == manifest


def test_build_index_routed_recall_is_measured_through_the_probe(tmp_path: Path) -> None:
    """The same shards in both: what is missed is missed by the routing."""
    low = replace(ROUTED, recall_target=0.5)
    few = _assemble(tmp_path / "few", _vectors(), low, SearchSettings(probe=1))
    every = _assemble(tmp_path / "all", _vectors(), replace(ROUTED, recall_target=1.0), SearchSettings(probe=100))
    assert few.recall[1].recall < 0.99 < every.recall[1].recall == 1.0


def test_build_index_routed_with_a_probe_too_low_is_refused_and_says_to_raise_it(tmp_path: Path) -> None:
    with pytest.raises(
        RecallError, match=r"raise search\.probe \(each query is searched in 1 of \d+ shards\)"
    ) as refused:
        _assemble(tmp_path, _vectors(), replace(ROUTED, recall_target=1.0), SearchSettings(probe=1))
    assert "index.recall_target 1.0" in str(refused.value)
    assert "neighbor_shards" not in str(refused.value)


@pytest.mark.parametrize("items", [1, 5])
def test_build_index_routed_of_a_few_items_is_whole(items: int, tmp_path: Path) -> None:
    built, embeddings, version = _build(tmp_path, _vectors(items), ROUTED)
    sizes = assemble_version(version, str(tmp_path / "parts"), built.outcome.plans, "routed")
    manifest = make_manifest(version, sizes, built.outcome, embeddings, ROUTED, None)
    store = LocalStore(str(tmp_path / "store"))
    assert verify_version(store, publish_version(store, version, manifest)) == []
    assert len(open_version(store.url).search(_vectors(items)[:1], 10)[0]) == items


def test_build_index_routed_twice_has_the_same_manifest(tmp_path: Path) -> None:
    again = [_assemble(tmp_path / name, _vectors(), ROUTED, SearchSettings()).text() for name in ("a", "b")]
    assert again[0] == again[1]


def test_build_index_merged_manifest_has_only_further_keys(tmp_path: Path) -> None:
    settings = IndexSettings(shard_items=150, recall_target=0.9)
    manifest = _assemble(tmp_path, _vectors(), settings, SearchSettings(probe=1))
    assert "probe" not in manifest.parameters
    assert manifest.index is not None
    assert manifest.shard_files == ()
