"""Commands that measure before a run: tune, and index --estimate.

ruiji tune --embeddings vectors.parquet --set index.space=l2
ruiji index --config configs/digits.yaml --estimate
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines._main import Main, Progress
from sim_transforms.errors import NotFound, RecallError, UsageError
from sim_transforms.settings.stages import IndexSettings, Settings

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipelines.stages import Stages
    from sim_transforms.commands.estimate import Prediction
    from sim_transforms.commands.sample_source import SampleSource


def tune(main: Main) -> None:
    """`ruiji tune`."""
    from sim_transforms.commands import tune as command

    given = main.arguments
    settings = main.settings().index
    if given.sample < 10:
        raise UsageError(f"--sample: found {given.sample}; at least 10 items are expected")
    tuning = command.tune(
        _source(main),
        settings,
        m=_numbers("--m", given.m),
        ef_construction=_numbers("--ef-construction", given.ef_construction),
        sample=given.sample,
        progress=Progress(main),
    )
    if given.output:
        command.write_csv(tuning, Path(given.output))
    main.answer(command.tuning_json(tuning), command.tuning_text(tuning))
    if not tuning.reached:
        raise RecallError(f"no row reaches index.recall_target {settings.recall_target}: {command.advice(tuning)}")


def _source(main: Main) -> "SampleSource":
    from sim_transforms.commands.sample_source import open_source

    return open_source(Path(main.arguments.embeddings), Path(main.arguments.ids) if main.arguments.ids else None)


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{flag}: found {text!r}; whole numbers with commas between are expected") from error


def estimate(main: Main, settings: Settings) -> None:
    """`ruiji index --estimate [--embeddings PATH [--ids FILE]]`: publishes nothing."""
    from pipelines.stages import Stages
    from sim_transforms.commands import estimate as command
    from sim_transforms.options import workers_of

    stages = Stages(main, settings, main.arguments.examples, main.arguments.model)
    source = _source(main) if main.arguments.embeddings else _own_source(stages)
    figures = command.estimate(source, settings.index, workers_of(main.options(settings)), main.notify)
    command.save_estimate(stages.workdir, command.estimate_digest(source.digest, settings.index), figures)
    main.answer(command.estimate_json(figures), command.estimate_text(figures))


def _own_source(stages: "Stages") -> "SampleSource":
    """The working directory's embeddings where they are up to date, else its examples and its model."""
    from sim_transforms.commands.sample_source import ExamplesSource, open_source
    from sim_transforms.runs.state import StageState

    try:
        if StageState(stages.workdir).done("embed", stages.embed().digest()):
            return open_source(stages.embeddings)
        return ExamplesSource.open(stages.examples, stages.model)
    except NotFound as error:
        raise NotFound(f"{error}; or name vectors made elsewhere by --embeddings PATH") from error


def predict_run(
    stages: "Stages", settings: IndexSettings, options: "PipelineOptions", embeddings: Path | None, ids: Path | None
) -> "Prediction":
    """What the run that now begins will take; its time where `--estimate` was asked before of the same inputs.

    Args:
        stages: of the run.
        settings: of the index.
        options: of Beam.
        embeddings, ids: vectors made elsewhere; null for the working directory's own.
    """
    from dataclasses import replace

    from sim_transforms.commands import estimate as command
    from sim_transforms.commands.sample_source import examples_digest, open_source
    from sim_transforms.options import workers_of

    workers = workers_of(options)
    source = open_source(stages.embeddings if embeddings is None else embeddings, ids)
    made_of = [source.digest]
    if embeddings is None and all((folder / "manifest.json").is_file() for folder in (stages.examples, stages.model)):
        made_of.append(examples_digest(stages.examples, stages.model))
    digests = [command.estimate_digest(digest, settings) for digest in made_of]
    seconds = command.saved_seconds(stages.workdir, digests, workers.count)
    figures = command.predict_sizes(source, settings, workers)
    return command.Prediction(replace(figures, seconds=seconds), time.monotonic())
