"""The whole job: catalog -> examples -> model -> embeddings -> published version -> report.

ruiji run --config configs/digits.yaml
ruiji run --config configs/digits.yaml --runner=FlinkRunner --flink_master=localhost:8081
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines._main import Main
from pipelines.stages import Stages
from sim_transforms.commands.summary import RunSummary, summary_json, summary_text
from sim_transforms.errors import UsageError
from sim_transforms.records.codec import to_plain
from sim_transforms.runs.lock import workdir_lock
from sim_transforms.runs.stages import StageResult, run_stage
from sim_transforms.runs.state import StageState
from sim_transforms.settings.stages import Settings
from sim_transforms.storage.files import replace_by_copy


class Runner:
    """Runs stages one after the other in one working directory, which it holds locked."""

    def __init__(self, main: Main, settings: Settings, stages: Stages) -> None:
        """Stages are made one by one, because each depends on what the one before wrote."""
        self._main, self._settings, self._stages = main, settings, stages
        self._state = StageState(stages.workdir)

    def preprocess(self, retry_rejects: bool = False) -> StageResult:
        """catalog -> examples/."""
        result = run_stage(self._stages.preprocess(retry_rejects), self._state, self._main.notify)
        # A run that was refused since then has left its own.
        replace_by_copy(self._stages.examples / "rejects.parquet", self._stages.workdir / "rejects.parquet")
        return result

    def train(self) -> StageResult:
        """examples/ -> model/."""
        return run_stage(self._stages.train(), self._state, self._main.notify)

    def embed(self) -> StageResult:
        """examples/ + model/ -> embeddings/."""
        return run_stage(self._stages.embed(), self._state, self._main.notify)

    def index(self, turn: Callable[[], str] | None = None) -> tuple[StageResult, StageResult]:
        """examples/ + model/ -> embeddings/ -> published version, which must follow what `turn` says."""
        embedded = self.embed()
        return embedded, run_stage(self._stages.index(turn=turn), self._state, self._main.notify)

    def index_embeddings(self, path: str, ids: str | None) -> StageResult:
        """Vectors made elsewhere -> published version."""
        stage = self._stages.index(Path(path), Path(ids) if ids else None)
        return run_stage(stage, self._state, self._main.notify)

    def evaluate(self) -> StageResult:
        """Quality of the model."""
        return run_stage(self._stages.evaluate(), self._state, self._main.notify)

    def report(self, version: str, evaluation: dict[str, Any]) -> StageResult:
        """The static page."""
        return run_stage(self._stages.page(version, evaluation), self._state, self._main.notify)


def run(main: Main) -> None:
    """Runs everything that is not up to date and prints the summary."""
    settings = main.settings()
    main.check_flags(settings)
    stages = Stages(main, settings)
    with workdir_lock(stages.workdir):
        runner = Runner(main, settings, stages)
        preprocessed = runner.preprocess()
        runner.train()
        embedded, indexed = runner.index()
        evaluated = runner.evaluate()
        runner.report(indexed.results["version"], evaluated.results)
    summary = RunSummary(preprocessed, embedded, indexed, evaluated.results, stages.report / "index.html")
    main.answer(summary_json(summary), summary_text(summary))


def preprocess(main: Main) -> None:
    """`ruiji preprocess [--retry-rejects]`."""
    settings = main.settings()
    main.check_flags(settings)
    stages = Stages(main, settings)
    with workdir_lock(stages.workdir):
        result = Runner(main, settings, stages).preprocess(main.arguments.retry_rejects)
    results = _nothing_done(result.results) if result.skipped else result.results
    counts = {name: count for name, count in results.items() if name in ("decoded", "reused", "analyzed")}
    main.answer(results, f"examples: {stages.examples}\n{_pairs(results['ledger'] | counts)}")


def _nothing_done(before: dict[str, Any]) -> dict[str, Any]:
    """Results of a preprocessing that was skipped, from those of the one that was not."""
    files = before.get("decoded", 0) + before.get("reused", 0)
    return {**before, "decoded": 0, "reused": files, "analyzed": 0}


def train(main: Main) -> None:
    """`ruiji train [--examples PATH] [--trials N]`."""
    settings = main.settings()
    stages = Stages(main, settings, main.arguments.examples)
    with workdir_lock(stages.workdir):
        if main.arguments.trials is not None:
            return _search(main, settings, stages)
        result = Runner(main, settings, stages).train()
    return main.answer(result.results, f"model: {stages.model}\n{_pairs(result.results['metrics'])}")


def _search(main: Main, settings: Settings, stages: Stages) -> None:
    """Trials of training settings; the model stays as it is."""
    if main.arguments.trials < 1:
        raise UsageError(f"--trials: found {main.arguments.trials}; at least 1 is expected")
    folder, found = stages.search(main.arguments.trials)
    shown = [
        f"{trial.number:>5}  {'-' if trial.score is None else f'{trial.score:.4f}':>7}  {trial.state:<8}  "
        + ", ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in pairs)
        for trial in found.trials
        for pairs in [sorted(trial.chosen.items())]
    ]
    alike = sum(trial.score == found.best.score for trial in found.trials) - 1
    tied = f", the first of {alike + 1} with this score" if alike else ""
    best = f"best: trial {found.best.number}{tied}; put {folder / 'best.yaml'} into the configuration and train"
    main.answer(to_plain(found), "\n".join([f"trial  {found.metric}", *shown, best]))


def index(main: Main) -> None:
    """`ruiji index [--examples PATH] [--model PATH]`, or `--embeddings PATH [--ids FILE]`, `--estimate`."""
    given = main.arguments
    if given.ids and not given.embeddings:
        raise UsageError("--ids FILE goes with --embeddings FILE.npy")
    if given.embeddings and (given.examples or given.model):
        raise UsageError("--embeddings takes neither --examples nor --model: its vectors are made already")
    settings = main.settings()
    main.check_flags(settings)
    if given.estimate:
        from pipelines.tune import estimate

        return estimate(main, settings)
    stages = Stages(main, settings, given.examples, given.model)
    with workdir_lock(stages.workdir):
        runner, embedded = Runner(main, settings, stages), None
        if given.embeddings:
            indexed = runner.index_embeddings(given.embeddings, given.ids)
        else:
            embedded, indexed = runner.index()
    summary = RunSummary(None, embedded, indexed, None, None)
    return main.answer(summary_json(summary), summary_text(summary))


def evaluate(main: Main) -> None:
    """`ruiji evaluate [--compare A B]`."""
    settings = main.settings()
    main.check_flags(settings)
    stages = Stages(main, settings)
    if main.arguments.compare:
        from sim_transforms.commands.compare_models import compare_models, comparison_text

        compared = compare_models(stages.examples, *map(Path, main.arguments.compare))
        return main.answer(compared, comparison_text(compared))
    with workdir_lock(stages.workdir):
        runner = Runner(main, settings, stages)
        runner.embed()  # what an earlier model embedded tells nothing of this one
        result = runner.evaluate()
    from sim_transforms.commands.summary import classes_text, evaluation_text

    texts = evaluation_text(result.results), classes_text(result.results)
    return main.answer(result.results, "\n".join(text for text in texts if text))


def _pairs(values: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value}" for name, value in values.items())
