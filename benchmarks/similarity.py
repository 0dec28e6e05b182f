"""Ruiji's trainer beside TensorFlow Similarity 0.17.1, which needs TensorFlow 2.15 and an environment of its own.

    make similarity-deps
    .venv/bin/python -m benchmarks.similarity --json work/benchmarks/similarity.json

Digits, the split of `configs/digits.yaml` with seed 0, the same features. The same network, MultiSimilarity loss with
its defaults, batches of 6 classes x 10 examples, Adam, the same number of steps, no augmentation. Each training is a
process of its own, in turns; the first round is not counted, as the peer compiles kernels in it. `fit` is the training
alone, tracing included; `process` is from outside, imports included. Ruiji reads its batches from TFRecords, validates
after every epoch and writes checkpoints; TensorFlow Similarity draws them from memory and does neither.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.losses import Items, prepare, retrieval, settings_of
from benchmarks.processes import ROOT, SELDOM_SECONDS, run_measured
from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json
from sim_transforms.settings.training import AugmentSettings, TrainSettings

Array = np.ndarray[Any, Any]

MOST = 0.5
_PEER = ROOT / ".venv-similarity" / "bin" / "python"
_SAME = AugmentSettings(shift=0.0, turn=0.0, zoom=0.0)


@dataclass(frozen=True)
class Training:
    """Attributes:
    fit_seconds: of the training alone.
    process_seconds: of the process.
    precision_at_1, map_at_r: of the queries of all ten digits.
    """

    system: str
    fit_seconds: float
    process_seconds: float
    precision_at_1: float
    map_at_r: float


def settings_for(steps: int) -> TrainSettings:
    """As the peer trains."""
    epochs = 10
    return dataclasses.replace(
        settings_of("multi_similarity", "labelled", 0, epochs),
        embedding_size=64,
        steps_per_epoch=-(-steps // epochs),
        augment=_SAME,
        calibrate_precision=None,
    )


def write_features(items: Items, path: Path) -> None:
    """What the peer reads: the very features of our training."""
    from trainer.training_data import TrainingData

    data = TrainingData(items.folder, settings_for(600))
    features = data.embed(np.asarray, np.arange(len(items.labels)))
    labels = items.labels.astype(int)
    parts = {"train": data.training, "gallery": np.flatnonzero(items.in_gallery)}
    parts["query"] = np.flatnonzero(~items.in_gallery)
    data.close()
    arrays: dict[str, Any] = {f"{name}_features": features[rows] for name, rows in parts.items()}
    arrays |= {f"{name}_labels": labels[rows] for name, rows in parts.items()}
    np.savez(path, **arrays)


def train_ours(examples: Path, steps: int) -> dict[str, float]:
    """In this process."""
    from functools import partial

    from trainer.fit import Watchers
    from trainer.task import fitted_model
    from trainer.training_data import TrainingData

    settings = settings_for(steps)
    data = TrainingData(examples, settings)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        model, _ = fitted_model(data, settings, Watchers(Path(name), lambda *_: None, notify), Path)
    seconds = time.perf_counter() - began
    rows, in_train = np.arange(data.count), data.in_train
    vectors, labels = data.embed(partial(model, training=False), rows), np.array(data.labels_of(rows))
    metrics = retrieval(vectors, labels, np.flatnonzero(~in_train), np.flatnonzero(in_train), "cosine")
    data.close()
    return {"fit_seconds": seconds, **{name: metrics[name] for name in ("precision_at_1", "map_at_r")}}


def _run(system: str, command: Sequence[str]) -> Training:
    # TensorFlow Transform asks for an older Keras in the environment, which the peer does not have.
    variables = {"TF_USE_LEGACY_KERAS": "0"} if system != "Ruiji" else None
    done = run_measured(command, variables, SELDOM_SECONDS)
    told = json.loads(done.output.splitlines()[-1])
    return Training(system, told["fit_seconds"], done.seconds, told["precision_at_1"], told["map_at_r"])


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Ruiji's trainer beside TensorFlow Similarity.")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3, help="that are counted")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.ours:
        print(json.dumps(train_ours(given.ours, given.steps)))
        return
    machine, runs = describe_machine(), []
    section("Beside TensorFlow Similarity", machine_line(machine))
    with tempfile.TemporaryDirectory() as name:
        items, path = prepare(0, Path(name), "labelled"), Path(name) / "features.npz"
        write_features(items, path)
        ours = [sys.executable, "-m", "benchmarks.similarity", "--ours", str(items.folder)]
        peer = [str(_PEER), "benchmarks/tensorflow_similarity/peer.py", str(path), "--classes", "6", "--examples", "10"]
        for turn in range(given.rounds + 1):
            for system, command in (("TensorFlow Similarity", peer), ("Ruiji", ours)):
                run = _run(system, [*command, "--steps", str(given.steps)])
                notify(f"round {turn}: {run}")
                runs += [run] if turn else []
    _tell(runs)
    write_json(given.json, {"machine": machine, "runs": [asdict(run) for run in runs]})


def _tell(runs: Sequence[Training]) -> None:
    names = ("fit_seconds", "process_seconds", "precision_at_1", "map_at_r")
    medians = {
        system: [statistics.median(getattr(run, name) for run in runs if run.system == system) for name in names]
        for system in ("TensorFlow Similarity", "Ruiji")
    }
    rows = [[system, *(shown(value, 4 if value <= 1 else 1) for value in values)] for system, values in medians.items()]
    section("Medians", markdown_table(["system", "fit s", "process s", "precision@1", "MAP@R"], rows))
    ours, peer = medians["Ruiji"], medians["TensorFlow Similarity"]
    print(f"\nof its time: fit {ours[0] / peer[0]:.3f}, process {ours[1] / peer[1]:.3f}; at most {MOST} is asked")


if __name__ == "__main__":
    main(sys.argv[1:])
