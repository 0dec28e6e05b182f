"""The estimate of a real sample, kept for the run that follows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.commands.compared import compared_text, size
from sim_transforms.commands.estimate import (
    Prediction,
    estimate,
    estimate_digest,
    estimate_text,
    predict_sizes,
    save_estimate,
    saved_seconds,
)
from sim_transforms.commands.sample_source import SampleSource, open_source
from sim_transforms.errors import UsageError
from sim_transforms.quality.estimate import Workers
from sim_transforms.settings.stages import IndexSettings
from tests.unit.hnsw.clouds import clustered

TWO = Workers(count=2, local=False)
SETTINGS = IndexSettings(shard_items=200, ef_construction=20)


@pytest.fixture
def source(tmp_path: Path) -> SampleSource:
    np.save(tmp_path / "vectors.npy", clustered(600, 16))
    return open_source(tmp_path / "vectors.npy")


def test_estimate_of_a_sample_is_the_sizes_and_a_time(source: SampleSource) -> None:
    told: list[str] = []
    figures = estimate(source, SETTINGS, TWO, told.append)
    assert replace(figures, seconds=None, embed_seconds=None) == predict_sizes(source, SETTINGS, TWO)
    assert figures.seconds is not None
    assert figures.seconds > figures.start_seconds
    assert told == ["estimate: building a sample of 600 of 600 items"]
    assert "600 of dimension 16, in 4 shards (expected)" in estimate_text(figures)


def test_estimate_of_vectors_that_cannot_be_indexed_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "zero.npy", np.zeros((20, 4), np.float32))
    with pytest.raises(UsageError, match="none of the 20 items that were drawn can be indexed"):
        estimate(open_source(tmp_path / "zero.npy"), SETTINGS, TWO, str)


def test_saved_seconds_hold_for_the_same_inputs_and_workers_alone(source: SampleSource, tmp_path: Path) -> None:
    figures = replace(predict_sizes(source, SETTINGS, TWO), seconds=12.0, embed_seconds=2.0)
    digest = estimate_digest(source.digest, SETTINGS)
    assert saved_seconds(tmp_path, [digest], 2) is None
    save_estimate(tmp_path, digest, figures)
    assert saved_seconds(tmp_path, ["other", digest], 2) == 10.0
    assert saved_seconds(tmp_path, [digest], 3) is None
    assert saved_seconds(tmp_path, [estimate_digest(source.digest, replace(SETTINGS, m=8))], 2) is None


@pytest.mark.parametrize("text", ["", "{}", '{"digest": "d", "estimate": {"items": 1}}', "[]"])
def test_saved_seconds_of_a_damaged_file_are_unknown(text: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "estimate.json").write_text(text)
    assert saved_seconds(tmp_path, ["d"], 2) is None


def test_prediction_outcome_counts_the_version_twice(source: SampleSource, tmp_path: Path) -> None:
    for name, count in (("parts/shard.arrow", 100), ("version/index.hnsw", 30), ("version/items.parquet", 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(count))
    prediction = Prediction(predict_sizes(source, SETTINGS, TWO), 0.0)
    rows = prediction.outcome(tmp_path / "parts", tmp_path / "version", 5, None, None)
    assert {row["name"]: row["measured"] for row in rows} == {"shards": 5, "index_bytes": 30, "disk_bytes": 170}


def test_compared_text_is_one_line_a_figure() -> None:
    rows = [
        {"name": "shards", "predicted": 4, "measured": 5, "ratio": 1.25},
        {"name": "disk_bytes", "predicted": 0, "measured": 2**20, "ratio": None},
    ]
    lines = compared_text(rows).splitlines()
    assert lines[0].startswith("estimate   shards")
    assert lines[0].endswith("ratio 1.250")
    assert "1.0 MiB" in lines[1]
    assert lines[1].endswith("ratio -")


@pytest.mark.parametrize(("count", "shown"), [(0, "0.0 MiB"), (3 * 2**19, "1.5 MiB"), (20 * 2**30, "20.0 GiB")])
def test_size_is_in_mib_or_gib(count: int, shown: str) -> None:
    assert size(count) == shown
