"""`ruiji train --trials N`: a search over training settings by Optuna, which goes on where it was killed.

Every trial is a training by the same loop as any other; its score is the metric `train.select_by` of its best epoch on
the validation items. Test items play no part. The study is a journal file, so that any number of calls add to it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages.journal import JournalFileBackend

from sim_transforms.errors import Collapsed, ConfigError, DamagedArtefact, UsageError
from sim_transforms.records.codec import from_plain, to_plain
from sim_transforms.settings.stages import Settings
from sim_transforms.settings.training import TrainSettings
from sim_transforms.storage.files import write_file
from trainer.metrics import chosen_name

# A trial is held against the others after a third of its epochs, when five have ended.
_STARTUP = 5
_LOGARITHMIC = 10.0
# Below `train`: trials of different ones have other validation items, or another metric.
_MEASURING = ("train_labels", "seed", "validation_share", "validation_items", "select_by", "search")

# A training under some settings, told after each epoch -> the score of its best epoch.
Score = Callable[[Settings, Path, Callable[[int, float], None]], float]


@dataclass(frozen=True)
class Trial:
    """Attributes:
    number: from 0.
    score: null of one that was ended early or collapsed.
    state: `complete`, `pruned` or `fail`.
    chosen: key below `train` -> value.
    """

    number: int
    score: float | None
    state: str
    chosen: dict[str, Any]


@dataclass(frozen=True)
class Searched:
    """Attributes:
    metric: that scores tell.
    best: the trial of the highest score, the first of several.
    trials: all, in order.
    """

    metric: str
    best: Trial
    trials: tuple[Trial, ...]


def search(settings: Settings, folder: Path, trials: int, score: Score) -> Searched:
    """Runs trials until there are `trials` of them, and writes `best.yaml`.

    Args:
        settings: of the catalog; `train.search` says what is searched.
        folder: of this search alone: the same catalog and settings.
        trials: in all, those of earlier calls included.
        score: trains.

    Raises:
        ConfigError: a key or range of `train.search` that cannot be searched.
        UsageError: no trial has a score.
    """
    space = settings.train.search or default_space(settings.train)
    _check(space, settings)
    folder.mkdir(parents=True, exist_ok=True)
    study = _open_study(folder)
    _take_up(study)
    while (count := len(_ended(study))) < trials:
        # A sampler of its own for each trial: the next one is a function of those that have ended.
        study.sampler = optuna.samplers.TPESampler(seed=settings.train.seed + count)
        study.optimize(_objective(settings, folder, space, score), n_trials=1, catch=(Collapsed,))
    found = tuple(_trial(each) for each in _ended(study))
    scored = [trial for trial in found if trial.score is not None]
    if not scored:
        raise UsageError("train --trials: found no trial with a score; widen train.search, or train longer")
    best = max(scored, key=lambda trial: (trial.score, -trial.number))
    write_file(folder / "best.yaml", yaml.safe_dump({"train": _nested(best.chosen)}).encode())
    return Searched(chosen_name(settings.train), best, found)


def default_space(settings: TrainSettings) -> dict[str, list[Any]]:
    """What is searched where `train.search` is empty."""
    space: dict[str, list[Any]] = {"learning_rate": [0.0001, 0.01]}
    if settings.self_supervised != "none":
        space["temperature"] = [0.05, 0.5]
        if settings.loss != "none":
            space["self_supervised_weight"] = [0.1, 10.0]
    return space


def with_chosen(settings: Settings, chosen: Mapping[str, Any]) -> Settings:
    """The settings with some keys below `train` set; raises ConfigError for one that is not there."""
    tree = to_plain(settings.train)
    for key, value in chosen.items():
        *path, last = key.split(".")
        node = tree
        for name in path:
            node = node.get(name)
            if not isinstance(node, dict):
                raise ConfigError("train.search", key, "no such key", "a key below train is expected")
        node[last] = value
    return dataclasses.replace(settings, train=from_plain(TrainSettings, tree, source="train.search"))


def _check(space: Mapping[str, Any], settings: Settings) -> None:
    for key, values in space.items():
        if not isinstance(values, list) or len(values) < 2:
            raise ConfigError("train.search", key, repr(values), "[lowest, highest], or a list of choices, is expected")
        if key in _MEASURING or (key == "loss" and "none" in values):
            raise ConfigError("train.search", key, repr(values), "what changes how a trial is measured is not searched")
        for value in values:
            with_chosen(settings, {key: value})


def _open_study(folder: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / "study.journal"
    _cut_unfinished(path)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP)
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(
            study_name="ruiji", storage=storage, direction="maximize", load_if_exists=True, pruner=pruner
        )
        study.get_trials(deepcopy=False)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArtefact(f"{path} cannot be read ({error}): remove it to begin the search anew") from error
    return study


def _cut_unfinished(path: Path) -> None:
    """Takes out a last line that was not written to its end: the next one would be joined to it."""
    if not path.is_file():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


def _take_up(study: optuna.Study) -> None:
    """Trials that were killed are begun again with what had been chosen for them."""
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Those with a score, those ended early, and those that collapsed; not those that were killed."""
    states = optuna.trial.TrialState
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (states.COMPLETE, states.PRUNED)
        or (trial.state == states.FAIL and trial.user_attrs.get("collapsed"))
    ]


def _objective(
    settings: Settings, folder: Path, space: Mapping[str, list[Any]], score: Score
) -> Callable[[optuna.Trial], float]:
    def run(trial: optuna.Trial) -> float:
        chosen = {key: _suggest(trial, key, values) for key, values in space.items()}
        wait = max(1, settings.train.epochs // 3)

        def told(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            if epoch >= wait and trial.should_prune():
                raise optuna.TrialPruned

        try:
            return score(with_chosen(settings, chosen), folder / f"trial-{len(_ended(trial.study)):04d}", told)
        except Collapsed:
            trial.set_user_attr("collapsed", True)
            raise

    return run


def _suggest(trial: optuna.Trial, key: str, values: list[Any]) -> Any:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) > 2 or len(numbers) < 2:
        return trial.suggest_categorical(key, values)
    low, high = sorted(numbers)
    log = low > 0 and high / low >= _LOGARITHMIC
    if all(isinstance(value, int) for value in numbers):
        return trial.suggest_int(key, int(low), int(high), log=log)
    return trial.suggest_float(key, float(low), float(high), log=log)


def _trial(trial: optuna.trial.FrozenTrial) -> Trial:
    score = trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None
    return Trial(trial.number, score, trial.state.name.lower(), dict(trial.params))


def _nested(chosen: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in chosen.items():
        *path, last = key.split(".")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
    return tree
