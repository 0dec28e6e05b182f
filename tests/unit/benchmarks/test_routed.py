"""The benchmark of routed versions: its exact answers are exact, and it runs from a store to the figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.routed import exact_distances, main
from sim_transforms.lookup.open import open_version
from tests.unit.storage.published import published_routed, published_store, some_vectors

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads memory from /proc")


def test_exact_distances_are_those_of_brute_force(tmp_path: Path) -> None:
    vectors, queries = some_vectors(items=120), some_vectors(7, 9)
    store, _ = published_routed(tmp_path, vectors)
    unit, asked = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, queries))
    expected = np.sort(1 - asked @ unit.T, axis=1)[:, :10]
    np.testing.assert_allclose(exact_distances(open_version(store.url), queries), expected, atol=1e-6)


def test_benchmark_from_store_to_table_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, version = published_routed(tmp_path, some_vectors(items=120))
    np.save(tmp_path / "q.npy", some_vectors(7, 9))
    files = ["--store", store.url, "--queries", str(tmp_path / "q.npy"), "--json", str(tmp_path / "figures.json")]
    main([*files, "--probes", "1,100", "--memory-budget-mib", "1"])
    assert "| probe | recall@10 |" in capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())
    few, every = figures["points"]
    assert (figures["version"], few["probe"], every["probe"]) == (version, 1, 100)
    assert few["recall_10"] < every["recall_10"] == 1.0
    assert every["peak_mib"] < 50


def test_benchmark_of_a_merged_version_is_refused(tmp_path: Path) -> None:
    store, _ = published_store(tmp_path, some_vectors())
    np.save(tmp_path / "q.npy", some_vectors(7, 9))
    with pytest.raises(SystemExit, match="layout routed is expected"):
        main(["--store", store.url, "--queries", str(tmp_path / "q.npy")])
