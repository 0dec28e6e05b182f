"""The search over settings: what it may choose, that it goes on, and that the best is what is told."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sim_transforms.errors import Collapsed, ConfigError, DamagedArtefact, UsageError
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import CatalogSettings, Settings
from sim_transforms.settings.training import TrainSettings
from trainer.trials import Searched, default_space, search, with_chosen

SPACE = {"learning_rate": [0.0001, 0.1], "embedding_size": [16, 32, 64], "augment.shift": [0.0, 0.3]}


def _settings(**train: object) -> Settings:
    chosen = TrainSettings(search=SPACE, epochs=6, **train)  # type: ignore[arg-type]
    return Settings(name="test", catalog=CatalogSettings(source="builtin:digits"), train=chosen)


class Scorer:
    """Best at a shift of 0.2; counts its trainings, and is killed in one."""

    def __init__(self, killed_at: int = -1) -> None:
        self.runs: list[Settings] = []
        self.folders: list[Path] = []
        self._killed_at = killed_at

    def __call__(self, settings: Settings, folder: Path, told: Callable[[int, float], None]) -> float:
        self.runs.append(settings)
        self.folders.append(folder)
        if len(self.runs) - 1 == self._killed_at:
            raise KeyboardInterrupt
        value = 1.0 - abs(settings.train.augment.shift - 0.2)
        for epoch in range(settings.train.epochs):
            told(epoch, value)
        return value


def _chosen(found: Searched) -> list[dict[str, object]]:
    return [trial.chosen for trial in found.trials]


def test_search_chooses_within_the_ranges_and_tells_the_best(tmp_path: Path) -> None:
    found = search(_settings(), tmp_path, 12, Scorer())
    assert len(found.trials) == 12
    for trial in found.trials:
        assert 0.0001 <= trial.chosen["learning_rate"] <= 0.1
        assert trial.chosen["embedding_size"] in (16, 32, 64)
    scores = [trial.score for trial in found.trials if trial.score is not None]
    assert found.best.score == max(scores)
    written = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert written["train"]["augment"] == {"shift": found.best.chosen["augment.shift"]}


def test_search_killed_and_called_again_chooses_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    undisturbed = search(_settings(), tmp_path / "whole", 9, Scorer())
    killed = Scorer(killed_at=4)
    with pytest.raises(KeyboardInterrupt):
        search(_settings(), tmp_path / "killed", 9, killed)
    resumed = Scorer()
    found = search(_settings(), tmp_path / "killed", 9, resumed)
    assert len(resumed.runs) == 5
    assert resumed.folders[0] == killed.folders[4]
    assert _chosen(found) == _chosen(undisturbed)


def test_search_called_for_more_trials_adds_to_them(tmp_path: Path) -> None:
    search(_settings(), tmp_path, 3, Scorer())
    further = Scorer()
    assert len(search(_settings(), tmp_path, 5, further).trials) == 5
    assert len(further.runs) == 2


def test_search_ends_hopeless_trials_early(tmp_path: Path) -> None:
    found = search(_settings(), tmp_path, 25, Scorer())
    assert {"complete", "pruned"} == {trial.state for trial in found.trials}
    assert all(trial.score is None for trial in found.trials if trial.state == "pruned")


def test_search_collapsed_trials_count_but_have_no_score(tmp_path: Path) -> None:
    def collapses(settings: Settings, folder: Path, told: Callable[[int, float], None]) -> float:
        raise Collapsed("one point")

    with pytest.raises(UsageError, match="no trial with a score"):
        search(_settings(), tmp_path, 2, collapses)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rte": [0.1, 0.2]}, "learning_rte"),
        ({"augment.shft": [0.1, 0.2]}, "shft"),
        ({"learning_rate": 0.1}, "lowest, highest"),
        ({"learning_rate": [-1.0, 0.2]}, "learning_rate"),
        ({"loss": ["triplet", "nonsense"]}, "nonsense"),
    ],
)
def test_search_of_what_cannot_be_set_is_refused_before_any_training(
    tmp_path: Path, space: dict[str, object], message: str
) -> None:
    scorer, settings = Scorer(), TrainSettings(search=space)
    with pytest.raises(ConfigError, match=message):
        search(
            Settings(name="test", catalog=CatalogSettings(source="builtin:digits"), train=settings), tmp_path, 2, scorer
        )
    assert not scorer.runs


def test_default_space_leaves_out_what_does_not_count() -> None:
    assert set(default_space(TrainSettings(self_supervised="none"))) == {"learning_rate"}
    assert set(default_space(TrainSettings(loss="none"))) == {"learning_rate", "temperature"}
    assert len(default_space(TrainSettings())) == 3


def test_with_chosen_sets_nested_keys_and_nothing_else() -> None:
    found = with_chosen(_settings(), {"augment.shift": 0.25}).train
    assert found.augment.shift == 0.25
    assert found.augment.turn == TrainSettings().augment.turn


@pytest.mark.parametrize("key", ["train_labels", "seed", "validation_share", "validation_items", "select_by", "search"])
def test_search_refuses_keys_that_change_what_is_measured(key: str, tmp_path: Path) -> None:
    settings = load_settings(None, [f"train.search={{{key}: [1, 2]}}"])
    with pytest.raises(ConfigError, match="how a trial is measured"):
        search(settings, tmp_path, 1, lambda *_: 0.0)
    mixed = load_settings(None, ["train.search={loss: [triplet, none]}"])
    with pytest.raises(ConfigError, match="how a trial is measured"):
        search(mixed, tmp_path, 1, lambda *_: 0.0)


def test_search_goes_on_behind_a_line_that_was_cut_and_names_a_damaged_study(tmp_path: Path) -> None:
    settings = load_settings(None, ["train.search={learning_rate: [0.001, 0.01]}"])
    first = search(settings, tmp_path, 2, lambda *_: 0.5)
    journal = tmp_path / "study.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    again = search(settings, tmp_path, 3, lambda *_: 0.25)
    assert again.trials[:2] == first.trials
    assert again.metric == "precision_at_1"
    journal.write_bytes(b"\xff\xfe\n" + journal.read_bytes())
    with pytest.raises(DamagedArtefact, match=r"study\.journal.*remove it"):
        search(settings, tmp_path, 4, lambda *_: 0.5)
