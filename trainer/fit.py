"""The loop: epochs of steps, the best epoch by retrieval of the validation items, checkpoints to go on from."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sim_transforms.settings.training import TrainSettings
from trainer.batches import Batch, Batches
from trainer.checkpoints import Checkpoint, Checkpoints
from trainer.collapse import CollapseWatch, check_finite, collapse_figures, view_agreement
from trainer.learner import Learner
from trainer.logs import Board, StepLog
from trainer.metrics import chosen_metric, is_better, validation_metrics
from trainer.training_data import TrainingData

Array = np.ndarray[Any, Any]
Progress = Callable[[str, int, int], None]
OnEpoch = Callable[[int, float], None]

STEPS_FILE = "steps.jsonl"


@dataclass(frozen=True)
class Watchers:
    """Who is told of a training.

    Attributes:
        folder: of checkpoints, the steps' log and TensorBoard's files.
        progress: of each step.
        notify: of what a person should read.
        on_epoch: after each epoch, with its number and its metric of `train.select_by`; what it raises ends the
            training.
    """

    folder: Path
    progress: Progress
    notify: Callable[[str], None]
    on_epoch: OnEpoch | None = None


@dataclass
class _Run:
    """Where a training stands.

    Attributes:
        step: steps done.
        best_epoch, best_metrics, best_weights: of the best epoch so far.
        seen: figures of the epochs so far, as the collapse watch takes them.
        before: the same of the weights before training; none with labels.
    """

    step: int = 0
    best_epoch: int = -1
    best_metrics: dict[str, float] | None = None
    best_weights: list[Array] = field(default_factory=list)
    seen: list[dict[str, float]] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """Attributes:
    epoch: the best one, from 0.
    metrics: of it.
    weights: of the model.
    epochs: that were run.
    """

    epoch: int
    metrics: dict[str, float]
    weights: list[Array]
    epochs: int


def steps_per_epoch(data: TrainingData, settings: TrainSettings) -> int:
    """Batches an epoch: as set, else one pass over the items, at least 60."""
    if settings.steps_per_epoch != "auto":
        return settings.steps_per_epoch
    return max(60, -(-len(data.training) // data.batch))


def fit(learner: Learner, data: TrainingData, settings: TrainSettings, watchers: Watchers) -> Fitted:
    """Runs all epochs, from the last checkpoint where there is one.

    Raises:
        Collapsed: the embeddings tell nothing apart any more.
    """
    return _Loop(learner, data, settings, watchers).run()


class _Loop:
    def __init__(self, learner: Learner, data: TrainingData, settings: TrainSettings, watchers: Watchers) -> None:
        self._learner, self._data, self._settings, self._watchers = learner, data, settings, watchers
        self._steps = steps_per_epoch(data, settings)
        self._total = self._steps * settings.epochs
        self._checkpoints = Checkpoints(watchers.folder)
        self._predict = tf.function(lambda features: learner.model(features, training=False), reduce_retracing=True)
        self._has_labels = settings.loss != "none"
        self._watch = CollapseWatch(self._has_labels)
        self._run = _Run()
        self._position: dict[str, Any] | None = None

    def run(self) -> Fitted:
        self._go_on()
        if self._run.step:
            self._watchers.notify(f"train: going on after step {self._run.step:,} of {self._total:,}")
        self._watchers.progress("train", self._run.step, self._total)
        if self._run.step == 0 and not self._has_labels:
            vectors = self._data.embed(self._predict, self._data.validation)
            self._run.before = collapse_figures(vectors, self._agreement())
        self._watch.begin(self._run.before, self._run.seen)
        with ExitStack() as stack:
            batches = stack.enter_context(self._data.batches(self._position))
            log = stack.enter_context(StepLog(self._watchers.folder / STEPS_FILE, self._run.step))
            board = Board(self._watchers.folder / "tensorboard") if self._settings.tensorboard else None
            if board is not None:
                stack.callback(board.close)
            while self._run.step < self._total and not self._is_over():
                self._epoch(batches, log, board)
        run = self._run
        assert run.best_metrics is not None
        return Fitted(run.best_epoch, run.best_metrics, run.best_weights, run.step // self._steps)

    def _is_over(self) -> bool:
        """Whether the last epochs brought nothing better."""
        patience = self._settings.patience
        ended = self._run.step // self._steps
        return (
            patience is not None and self._run.step % self._steps == 0 and ended - 1 - self._run.best_epoch >= patience
        )

    def _epoch(self, batches: Batches, log: StepLog, board: Board | None) -> None:
        epoch = self._run.step // self._steps
        began = time.perf_counter()
        self._learner.begin_epoch(epoch)
        every = self._settings.checkpoint_steps
        while self._run.step < (epoch + 1) * self._steps:
            batch = next(batches)
            told = self._learner.step(batch.features, batch.classes, self._run.step)
            self._run.step += 1
            log.write(step=self._run.step, epoch=epoch + 1, **told)
            if board is not None:
                board.scalars("step", told, self._run.step)
            self._watchers.progress("train", self._run.step, self._total)
            if every is not None and self._run.step % every == 0 and self._run.step % self._steps:
                self._save(batch)
        self._end_epoch(epoch, time.perf_counter() - began, log, board)
        self._save(batch)
        if self._watchers.on_epoch is not None:
            self._watchers.on_epoch(epoch, chosen_metric(self._run.seen[-1], self._settings))

    def _end_epoch(self, epoch: int, seconds: float, log: StepLog, board: Board | None) -> None:
        run, data = self._run, self._data
        with self._learner.averaged() as model:
            vectors = data.embed(self._predict, data.validation)
            check_finite(vectors)
            agreement = None if self._has_labels else self._agreement()
            weights = model.get_weights()
        metrics = validation_metrics(vectors, data.labels) if self._has_labels else {}
        metrics |= self._watch.look(vectors, agreement)
        run.seen.append(metrics)
        if is_better(metrics, run.best_metrics, self._settings):
            run.best_epoch, run.best_metrics, run.best_weights = epoch, metrics, weights
        log.write(step=run.step, epoch=epoch + 1, seconds=round(seconds, 3), validation=metrics)
        if board is not None:
            self._show(board, vectors, metrics)

    def _agreement(self) -> float:
        """Whether two views of the validation items find each other, which asks for no label."""
        seed = tf.constant([self._settings.seed, 0], tf.int32)

        def both(features: Any) -> Any:
            # Of sounds views come in pairs: here twice the same clips.
            given = tf.concat([features, features], axis=0) if self._data.is_sound else features
            return tf.concat([self._predict(view) for view in self._learner.views(given, seed)[:2]], axis=1)

        first, second = np.split(self._data.embed(both, self._data.validation), 2, axis=1)
        return view_agreement(first, second)

    def _show(self, board: Board, vectors: Array, metrics: dict[str, float]) -> None:
        board.scalars("epoch", metrics, self._run.step)
        some = self._data.validation[:500]
        board.neighbours(np.asarray(self._data.features(some)), vectors[:500], self._run.step)
        board.project(vectors, list(zip(self._data.validation_ids, self._data.labels, strict=True)))

    def _save(self, batch: Batch) -> None:
        run = self._run
        best = {f"best/{place}": weight for place, weight in enumerate(run.best_weights)}
        plain = {
            "best_epoch": run.best_epoch,
            "best_metrics": run.best_metrics,
            "seen": run.seen,
            "before": run.before,
            "position": batch.position,
        }
        self._checkpoints.save(Checkpoint(run.step, self._learner.state() | best, plain))

    def _go_on(self) -> None:
        found = self._checkpoints.load()
        if found is None:
            return
        self._learner.restore(found.arrays)
        best = [
            found.arrays[f"best/{place}"] for place in range(sum(name.startswith("best/") for name in found.arrays))
        ]
        plain = found.plain
        self._run = _Run(found.step, plain["best_epoch"], plain["best_metrics"], best, plain["seen"], plain["before"])
        self._position = plain["position"]
