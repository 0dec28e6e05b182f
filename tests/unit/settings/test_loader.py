"""Configurations: how values are read, before anything is done with them."""

from pathlib import Path

import pytest

from sim_transforms.errors import ConfigError
from sim_transforms.settings.loader import load_settings


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("2E-4", 2e-4), ("1.5e-3", 1.5e-3), ("1.e-3", 1e-3), ("0.01", 0.01), ("1", 1)]
)
def test_numbers_may_be_written_with_an_exponent(text: str, value: float, tmp_path: Path) -> None:
    assert load_settings(None, [f"train.learning_rate={text}"]).train.learning_rate == value
    file = tmp_path / "some.yaml"
    file.write_text(f"name: some\ncatalog: {{source: folder}}\ntrain: {{learning_rate: {text}}}\n")
    assert load_settings(str(file)).train.learning_rate == value


@pytest.mark.parametrize("text", ["12e4", "1e4"])
def test_text_that_looks_like_a_number_is_text_in_quotes(text: str) -> None:
    labels = load_settings(None, [f'train.train_labels=["{text}", "b"]']).train.train_labels
    assert labels == (text, "b")


def test_small_crops_go_with_swav_alone() -> None:
    with pytest.raises(ConfigError, match="local_crops"):
        load_settings(None, ["train.augment.local_crops=2"])
    chosen = load_settings(None, ["train.augment.local_crops=2", "train.self_supervised=swav"])
    assert chosen.train.augment.local_crops == 2


@pytest.mark.parametrize(
    "override",
    [
        "train.seed=-1",
        "train.seed=4294967296",
        "train.learning_rate=.nan",
        "train.learning_rate=.inf",
        "train.temperature=.nan",
        "train.weight_decay=.nan",
        "train.gate_margin=.inf",
        "train.search={learning_rate: [0.1, .nan]}",
        "train.loss_options={margin: .inf}",
        'train.train_labels=["0", "1", "1"]',
    ],
)
def test_numbers_without_an_end_and_labels_twice_are_refused_by_their_key(override: str) -> None:
    with pytest.raises(ConfigError, match=override.split("=")[0].removeprefix("train.")):
        load_settings(None, [override])
