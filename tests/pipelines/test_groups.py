"""`ruiji duplicates` and `ruiji cluster` on published versions, beside what the vectors themselves say."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms.storage.local import LocalStore
from tests.unit.storage.published import published_routed, published_store

pytestmark = pytest.mark.slow

BLOBS, EACH = 4, 30


def _blobs() -> np.ndarray:
    """120 items by fours of which two are near, and two the very same."""
    generator = np.random.default_rng(0)
    vectors = np.repeat(5 * generator.standard_normal((BLOBS, 8)), EACH, axis=0)
    vectors += generator.standard_normal(vectors.shape)
    vectors[1::4] = vectors[::4] + 0.001 * generator.standard_normal(vectors[::4].shape)
    vectors[3] = vectors[119] = vectors[2]
    return vectors.astype(np.float32)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalStore]:
    merged, routed = tmp_path_factory.mktemp("merged"), tmp_path_factory.mktemp("routed")
    return {"merged": published_store(merged, _blobs())[0], "routed": published_routed(routed, _blobs())[0]}


def _answered(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer: dict[str, object] = json.loads(line)
    return answer


@pytest.mark.parametrize("layout", ["merged", "routed"])
def test_duplicates_are_the_planted_ones_with_their_metadata(
    layout: str, stores: dict[str, LocalStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    told = _answered(
        capsys, "duplicates", "--store", stores[layout].url, "--max-distance", "1e-4", "--output", str(output)
    )
    rows = pq.read_table(output / "duplicates.parquet").to_pylist()
    groups: dict[int, set[str]] = {}
    for row in rows:
        groups.setdefault(row["group"], set()).add(row["item_id"])
    planted = [{"item-2", "item-3", "item-119"}, *({f"item-{n}", f"item-{n + 1}"} for n in range(0, 120, 4))]
    assert groups[0] == planted[0]
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, planted))
    assert sum(row["kept"] for row in rows) == len(planted)
    assert all(0 <= row["distance"] <= 1e-4 and row["colour"] for row in rows)
    assert (told["items"], told["groups"], told["grouped"], told["full"]) == (120, 31, 63, 0)
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["version"], manifest["max_distance"]) == (told["version"], 1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_lists_that_are_full_are_told(
    stores: dict[str, LocalStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("duplicates", "--store", stores["merged"].url, "--output", str(tmp_path / "out"))
    assert main([*words, "--max-distance", "2.5", "--k", "3"]) == 0
    assert "120 items have 3 neighbours so near" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["merged", "routed"])
def test_clusters_are_the_blobs_in_the_order_of_items(
    layout: str, stores: dict[str, LocalStore], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    told = _answered(capsys, "cluster", "--store", stores[layout].url, "--output", str(output))
    found = pq.read_table(output / "clusters.parquet").to_pydict()
    assert sorted(found["item_id"]) == sorted(f"item-{n}" for n in range(120))
    blob_of = {f"item-{n}": n // EACH for n in range(120)} | {"item-119": 0}
    pairs = {(blob_of[name], number) for name, number in zip(found["item_id"], found["cluster"], strict=True)}
    assert len(pairs) == len({blob for blob, _ in pairs}) == told["clusters"] == BLOBS
    assert told["largest"] == EACH + 1
    assert 0.5 < told["modularity"] < 1


def test_again_gives_the_same_bytes(stores: dict[str, LocalStore], tmp_path: Path) -> None:
    for name in ("one", "again"):
        assert main(["cluster", "--store", stores["merged"].url, "--output", str(tmp_path / name)]) == 0
    one, again = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "again"))
    assert sorted(one) == ["clusters.parquet", "manifest.json"]
    assert again == one


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("duplicates", "--store", "nowhere", "--output", "o"), 2, "--max-distance: up to which distance"),
        (("duplicates", "--store", "nowhere", "--output", "o", "--max-distance", "nan"), 2, "--max-distance"),
        (("duplicates", "--max-distance", "1", "--output", "o"), 2, "which store?"),
        (("duplicates", "--store", "nowhere", "--output", "o", "--max-distance", "inf"), 2, "--max-distance"),
        (("cluster", "--store", "nowhere", "--output", "o", "--resolution", "0"), 2, "--resolution: found 0.0"),
        (("cluster", "--store", "nowhere", "--output", "o", "--resolution", "inf"), 2, "--resolution: found inf"),
        (("cluster", "--store", "nowhere", "--output", "o", "--seed", "-1"), 2, "--seed: found -1"),
        (("cluster", "--store", "nowhere"), 2, "--output DIR is required"),
        (("cluster", "--store", "nowhere", "--output", "o"), 1, "nothing is published there"),
    ],
)
def test_wrong_use_is_said(
    words: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(list(words)) == code
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
