"""A published version of layout routed: searched within a budget, verified file by file, never half."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import main
from sim_transforms.errors import DamagedArtefact, NotFound, UsageError
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.records.manifests import VersionManifest
from sim_transforms.runs.folders import is_whole
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, load_manifest, publish
from tests.unit.storage.published import published_routed, published_store, routed_folder, some_vectors

VECTORS = some_vectors(items=120)
_WITHOUT = """
import sys
sys.modules.update({name: None for name in ("tensorflow", "apache_beam", "keras", "tensorflow_transform", "tfx_bsl")})
from sim_transforms.lookup.open import open_version
print([m.item_id for m in open_version(sys.argv[1], memory_budget_mib=1).search_item("item-3", 3)])
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return published_routed(tmp_path_factory.mktemp("routed"), VECTORS)[0]


@pytest.mark.parametrize("budget", [None, 1])
def test_search_probing_all_shards_is_that_of_the_merged_version(
    budget: int | None, store: LocalStore, tmp_path: Path
) -> None:
    merged = open_version(published_store(tmp_path, VECTORS)[0].url)
    routed = open_version(store.url, probe=100, memory_budget_mib=budget)
    queries = some_vectors(5, 20)
    for mine, other in zip(routed.search(queries, 10), merged.search(queries, 10, 200), strict=True):
        assert [m.item_id for m in mine] == [m.item_id for m in other]
        np.testing.assert_allclose([m.distance for m in mine], [m.distance for m in other], atol=1e-6)
        assert all(m.metadata == {"colour": f"colour-{int(m.item_id[5:]) % 3}"} for m in mine)


def test_open_version_probes_as_many_shards_as_were_measured(store: LocalStore) -> None:
    assert open_version(store.url).limits.probe == 2
    assert open_version(store.url, probe=3).limits.probe == 3


def test_open_version_merged_takes_a_probe_and_a_budget_without_meaning(tmp_path: Path) -> None:
    store, _ = published_store(tmp_path, some_vectors())
    plain, limited = open_version(store.url), open_version(store.url, probe=1, memory_budget_mib=1)
    assert plain.search(some_vectors()[:5], 5) == limited.search(some_vectors()[:5], 5)


@pytest.mark.parametrize("budget", [None, 1])
def test_vector_of_every_item_is_the_prepared_vector(budget: int | None, store: LocalStore) -> None:
    opened = open_version(store.url, memory_budget_mib=budget)
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    found = np.stack([opened.vector_of(f"item-{i}") for i in range(len(VECTORS))])
    np.testing.assert_allclose(found, unit, atol=1e-6)
    with pytest.raises(NotFound, match="nobody"):
        opened.vector_of("nobody")


def test_search_item_leaves_the_item_out(store: LocalStore) -> None:
    assert "item-7" not in [m.item_id for m in open_version(store.url).search_item("item-7", 10)]


def test_items_of_a_bounded_version_are_still_the_whole_table(store: LocalStore) -> None:
    assert open_version(store.url, memory_budget_mib=1).items.equals(open_version(store.url).items)


@pytest.mark.parametrize(("probe", "budget", "said"), [(0, None, "probe: at least 1"), (None, 0, "memory_budget_mib")])
def test_open_version_limits_below_one_are_wrong_usage(
    probe: int | None, budget: int | None, said: str, store: LocalStore
) -> None:
    with pytest.raises(UsageError, match=said):
        open_version(store.url, probe=probe, memory_budget_mib=budget)


def test_routed_lookup_needs_neither_beam_nor_tensorflow(store: LocalStore) -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT, store.url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([m.item_id for m in open_version(store.url).search_item("item-3", 3)])
    assert done.stderr == ""


def test_search_command_takes_probe_and_budget(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--store",
        store.url,
        "--item",
        "item-3",
        "--k",
        "4",
        "--probe",
        "100",
        "--memory-budget-mib",
        "1",
        "--json",
    ]
    assert main(["search", *flags]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = open_version(store.url, probe=100).search_item("item-3", 4)
    assert [m["item_id"] for m in answer["matches"]] == [m.item_id for m in expected]


def test_search_command_takes_the_section_search_of_the_configuration(
    store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"name: a\ncatalog: {{source: nowhere.csv}}\nstore: {store.url}\nsearch: {{probe: 0}}\n"
    (tmp_path / "a.yaml").write_text(text)
    assert main(["search", "--config", str(tmp_path / "a.yaml"), "--item", "item-3"]) == 2
    assert "search.probe: found 0 (int); at least 1" in capsys.readouterr().err
    arguments = [
        "search",
        "--config",
        str(tmp_path / "a.yaml"),
        "--item",
        "item-3",
        "--set",
        "search.probe=100",
        "--json",
    ]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = open_version(store.url, probe=100).search_item("item-3", 10)
    assert [m["item_id"] for m in answer["matches"]] == [m.item_id for m in expected]


def test_verify_whole_version_has_no_problems(store: LocalStore) -> None:
    version = latest(store)
    assert version is not None
    assert verify_version(store, version) == []


@pytest.mark.parametrize("name", ["shards/000001.hnsw", "centroids.npy", "items.parquet"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_file_is_refused_by_search_and_named_by_verify(name: str, damage: str, tmp_path: Path) -> None:
    store, version = published_routed(tmp_path, VECTORS)
    path = tmp_path / "store" / "versions" / version / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        os.unlink(path)
    else:
        path.write_bytes(bytes(data) if damage == "flip" else bytes(data[:-5]))
    with pytest.raises(DamagedArtefact, match=name):
        open_version(store.url, probe=100).search(VECTORS[:1], 3)
    assert any(name in problem for problem in verify_version(store, version))


def test_shard_that_no_query_reaches_is_missed_all_the_same(tmp_path: Path) -> None:
    store, version = published_routed(tmp_path, VECTORS)
    os.unlink(tmp_path / "store" / "versions" / version / "shards" / "000000.hnsw")
    with pytest.raises(DamagedArtefact, match=r"000000\.hnsw is missing"):
        open_version(store.url, probe=1)


def test_shard_lost_while_open_is_an_error_and_not_fewer_answers(tmp_path: Path) -> None:
    store, version = published_routed(tmp_path, VECTORS)
    opened = open_version(store.url, probe=100)
    os.unlink(tmp_path / "store" / "versions" / version / "shards" / "000002.hnsw")
    with pytest.raises(DamagedArtefact, match=r"000002\.hnsw is missing"):
        opened.search(VECTORS[:1], 3)


def _published(folder: Path, changed: VersionManifest) -> tuple[LocalStore, str]:
    store = LocalStore(str(folder / "store"))
    return store, publish(store, folder / "new", changed)


def test_verify_names_a_canary_that_answers_otherwise(tmp_path: Path) -> None:
    manifest = routed_folder(tmp_path / "new", VECTORS)
    wrong = replace(manifest.canaries[1], expected_rows=(0, 1, 2))
    store, version = _published(tmp_path, replace(manifest, canaries=(manifest.canaries[0], wrong)))
    assert [p.split(" answers")[0] for p in verify_version(store, version)] == ["the canary query of row 1"]


def test_verify_names_a_shard_that_does_not_fit_its_row_range(tmp_path: Path) -> None:
    manifest = routed_folder(tmp_path / "new", VECTORS)
    first, second, *others = manifest.row_ranges
    moved = (replace(first, end_row=first.end_row + 1), replace(second, first_row=second.first_row + 1), *others)
    store, version = _published(tmp_path, replace(manifest, row_ranges=moved))
    problems = verify_version(store, version)
    assert len(problems) == 2
    assert "000000.hnsw" in problems[0]
    assert "000001.hnsw" in problems[1]


def test_verify_and_open_refuse_files_without_row_ranges(tmp_path: Path) -> None:
    manifest = routed_folder(tmp_path / "new", VECTORS)
    store, version = _published(tmp_path, replace(manifest, row_ranges=manifest.row_ranges[:-1]))
    assert "one range a file is expected" in verify_version(store, version)[0]
    with pytest.raises(DamagedArtefact, match="one range a file is expected"):
        open_version(store.url)


def test_open_version_that_does_not_say_its_probe_is_refused(tmp_path: Path) -> None:
    manifest = routed_folder(tmp_path / "new", VECTORS)
    store, _ = _published(tmp_path, replace(manifest, parameters={"layout": "routed"}))
    with pytest.raises(DamagedArtefact, match=r"parameters\.probe None"):
        open_version(store.url)


def test_publish_again_is_the_same_version(tmp_path: Path) -> None:
    store, version = published_routed(tmp_path, VECTORS)
    assert publish(store, tmp_path / "new", load_manifest(store, version)) == version


def test_publish_shard_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    manifest = routed_folder(tmp_path / "new", VECTORS)
    path = tmp_path / "new" / "shards" / "000000.hnsw"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedArtefact, match=r"000000\.hnsw"):
        _published(tmp_path, manifest)
    assert latest(LocalStore(str(tmp_path / "store"))) is None


def test_is_whole_version_without_one_of_its_shards_is_not(tmp_path: Path) -> None:
    _, version = published_routed(tmp_path, VECTORS)
    folder = tmp_path / "store" / "versions" / version
    assert is_whole(folder)
    os.unlink(folder / "shards" / "000001.hnsw")
    assert not is_whole(folder)
