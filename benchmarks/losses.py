"""Every loss and every self-supervised objective on digits, beside raw pixels and the untrained network.

    .venv/bin/python -m benchmarks.losses --json work/benchmarks/losses.json
    .venv/bin/python -m benchmarks.losses --rows default,untrained --seeds 3
    .venv/bin/python -m benchmarks.losses --kind unlabelled               # all ten digits, no label is ever seen
    .venv/bin/python -m benchmarks.losses --kind collapse                 # whether BYOL without its predictor is ended
    .venv/bin/python -m benchmarks.losses --rows default --epochs 1 --seeds 1     # does it run at all

The split is that of `configs/digits.yaml` (one for each seed): digits 0-5 are trained on, the gallery is the train
items of all ten, the queries are the test items; no item of 6-9 is seen in training. `few` is the same with a gallery
of five items a class, the mean of 20 draws. Figures are means over the seeds; seconds are of the fastest epoch, so that
compilation does not count.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np

from benchmarks.processes import run_measured
from benchmarks.ruiji import PROGRAM
from benchmarks.tables import describe_machine, machine_line, markdown_table, notify, section, shown, write_json
from sim_transforms.errors import Collapsed
from sim_transforms.quality.retrieval import retrieval_metrics
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.training import LossName, SelfSupervisedName, TrainSettings

Array = np.ndarray[Any, Any]

CONFIG = "configs/digits.yaml"
FEW, DRAWS = 5, 20
# Without labels: larger batches, smaller steps, softer negatives and views that change less.
_WITHOUT_LABELS: dict[str, Any] = {"examples_per_class": 20, "learning_rate": 0.0005, "temperature": 0.5}
_VIEWS_WITHOUT_LABELS: dict[str, Any] = {"turn": 0.1, "zoom": 0.05}
# Nothing pushes items apart in BYOL but what its predictor misses: it must be quick, and batches and views varied.
_BYOL: dict[str, Any] = {"examples_per_class": 10, "proxy_learning_rate": 30.0}
# Of the collapse: with BYOL's slow target and small steps it would take longer than the benchmark.
_QUICK_RATE, _QUICK_MOMENTUM = 0.005, 0.5
_RAW, _UNTRAINED, _DEFAULT = "raw pixels", "untrained", "default"
_LOSSES = [name for name in get_args(LossName) if name != "none"]
_OBJECTIVES = [name for name in get_args(SelfSupervisedName) if name != "none"]


@dataclass(frozen=True)
class Figures:
    """Of one row and seed; "known" and "unseen" hold precision_at_1, map_at_r and precision_at_1 of the small gallery.

    Attributes:
        seconds: of the fastest epoch; null of what is not trained.
    """

    row: str
    seed: int
    known: dict[str, float]
    unseen: dict[str, float]
    seconds: float | None


@dataclass(frozen=True)
class Items:
    """All examples of one seed: media [n, h, w, c] float32, labels, and which are queries."""

    folder: Path
    media: Array
    labels: Array
    in_gallery: Array
    known: tuple[str, ...]


def prepare(seed: int, folder: Path, kind: str) -> Items:
    """Examples of a seed, by the command."""
    workdir = folder / f"seed-{seed}"
    command = [*PROGRAM, "preprocess", "--config", CONFIG, "--workdir", str(workdir), "--set", f"train.seed={seed}"]
    run_measured(command)
    from sim_transforms.records.manifests import ExamplesManifest
    from trainer.places import load_places
    from trainer.records import RecordReader

    examples = workdir / "examples"
    places, manifest = load_places(examples), ExamplesManifest.load(examples)
    from sim_transforms.features.example_format import decode_example

    reader = RecordReader.of_examples(examples, manifest)
    media = [decode_example(record).media for record in reader.read_all(places, np.arange(len(places)))]
    reader.close()
    pixels = np.stack([np.frombuffer(data, np.uint8).reshape(manifest.media.shape) for data in media])
    labels = np.array(places.labels_of(np.arange(len(places))))
    known = tuple(sorted(set(labels))) if kind == "unlabelled" else tuple("012345")
    return Items(examples, pixels.astype(np.float32), labels, places.in_train, known)


def settings_of(row: str, kind: str, seed: int, epochs: int | None) -> TrainSettings:
    """What a row trains with: the configuration, and another loss or objective."""
    chosen = dataclasses.replace(load_settings(CONFIG).train, seed=seed)
    if epochs is not None:
        chosen = dataclasses.replace(chosen, epochs=epochs)
    if kind == "unlabelled":
        named: Any = {} if row == _UNTRAINED else {"self_supervised": row}
        named |= _WITHOUT_LABELS | {"train_labels": "all", "calibrate_precision": None}
        if row == "byol":
            named |= _BYOL
        else:
            named["augment"] = dataclasses.replace(chosen.augment, **_VIEWS_WITHOUT_LABELS)
        return dataclasses.replace(chosen, loss="none", **named)
    name, _, beside = row.partition(" ")
    if name == _DEFAULT or row == _UNTRAINED:
        return chosen
    loss: Any = {"loss": name} | ({} if beside else {"self_supervised": "none"})
    return dataclasses.replace(chosen, **loss)


def embed_row(row: str, items: Items, settings: TrainSettings) -> tuple[Array, float | None]:
    """[n, d] vectors of all items, and seconds of the fastest epoch."""
    if row == _RAW:
        return items.media.reshape(len(items.media), -1), None
    from trainer.fit import STEPS_FILE, Watchers
    from trainer.task import fitted_model, untrained_model
    from trainer.training_data import TrainingData

    data = TrainingData(items.folder, settings)
    try:
        if row == _UNTRAINED:
            model, seconds = untrained_model(data, settings, Path), None
        else:
            with tempfile.TemporaryDirectory() as name:
                watchers = Watchers(Path(name), lambda *_: None, notify)
                model, _ = fitted_model(data, settings, watchers, Path)
                seconds = _fastest_epoch(Path(name) / STEPS_FILE)
        return data.embed(partial(model, training=False), np.arange(len(items.labels))), seconds
    finally:
        data.close()


def collapse(items: Items, settings: TrainSettings, *, normalised: bool) -> str:
    """What the collapse watch says of BYOL without its predictor.

    Batch normalisation keeps items apart by itself: without it too, and with a target that follows at once, nothing
    does.
    """
    import keras

    from trainer.fit import Watchers
    from trainer.self_supervised.byol import Byol
    from trainer.task import fitted_model
    from trainer.training_data import TrainingData

    layer = keras.layers.BatchNormalization if normalised else _unchanged()
    options: dict[str, Any] = {} if normalised else {"first_momentum": _QUICK_MOMENTUM}
    chosen = settings if normalised else dataclasses.replace(settings, learning_rate=_QUICK_RATE)
    data = TrainingData(items.folder, chosen)
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            mock.patch("keras.layers.BatchNormalization", layer),
            mock.patch("trainer.task.make_objective", side_effect=lambda _: Byol(predictor=False, **options)),
        ):
            _, fitted = fitted_model(data, chosen, Watchers(Path(name), lambda *_: None, notify), Path)
    except Collapsed as error:
        return f"caught: {error}"
    finally:
        data.close()
    return f"trained to its end: {fitted.metrics}"


def _unchanged() -> type:
    """A layer that gives what it gets, in place of batch normalisation."""
    import keras

    @keras.saving.register_keras_serializable(package="benchmarks")
    class Unchanged(keras.layers.Layer):
        def __init__(self, momentum: float = 0.0, **further: Any) -> None:
            super().__init__(**further)

        def call(self, values: Any) -> Any:
            return values

    return Unchanged


def _fastest_epoch(log: Path) -> float | None:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return min((line["seconds"] for line in lines if "validation" in line), default=None)


def figures_of(row: str, items: Items, seed: int, found: tuple[Array, float | None]) -> Figures:
    """Retrieval among all, and among a few of each class."""
    vectors, seconds = found
    space = "l2" if row == _RAW else "cosine"
    gallery, queries = np.flatnonzero(items.in_gallery), np.flatnonzero(~items.in_gallery)
    is_known = np.isin(items.labels[queries], items.known)
    groups = {"known": queries[is_known], "unseen": queries[~is_known]}
    told: dict[str, dict[str, float]] = {}
    for name, rows in groups.items():
        if not len(rows):
            told[name] = {}
            continue
        whole = retrieval(vectors, items.labels, rows, gallery, space)
        few = [retrieval(vectors, items.labels, rows, drawn, space) for drawn in _small_galleries(items, gallery, seed)]
        told[name] = {
            "precision_at_1": whole["precision_at_1"],
            "map_at_r": whole["map_at_r"],
            "few": statistics.mean(each["precision_at_1"] for each in few),
        }
    return Figures(row, seed, told["known"], told["unseen"], seconds)


def retrieval(vectors: Array, labels: Array, queries: Array, gallery: Array, space: str) -> dict[str, float]:
    """Metrics of some rows among others."""
    return retrieval_metrics(
        vectors[queries], labels[queries].tolist(), vectors[gallery], labels[gallery].tolist(), space
    )


def _small_galleries(items: Items, gallery: Array, seed: int) -> list[Array]:
    """The same draws for every row."""
    generator = np.random.default_rng([seed, FEW])
    classes = [gallery[items.labels[gallery] == label] for label in sorted(set(items.labels))]
    return [
        np.concatenate([generator.choice(members, FEW, replace=False) for members in classes]) for _ in range(DRAWS)
    ]


def table(rows: Sequence[str], figures: Sequence[Figures]) -> str:
    """Means over the seeds."""
    lines = []
    for row in rows:
        of_row = [each for each in figures if each.row == row]
        cells = [row]
        for name in ("precision_at_1", "map_at_r", "few"):
            for group in ("known", "unseen"):
                values = [getattr(each, group).get(name) for each in of_row]
                cells.append(shown(None if None in values else statistics.mean(values), 4))
        seconds = [each.seconds for each in of_row if each.seconds is not None]
        lines.append([*cells, shown(statistics.median(seconds) if seconds else None, 1)])
    names = ("precision@1", "MAP@R", f"precision@1 of {FEW} a class")
    headers = ["row", *(f"{name}, {group}" for name in names for group in ("known", "unseen")), "s an epoch"]
    return markdown_table(headers, lines)


def main(argv: Sequence[str]) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Losses and self-supervised objectives on digits.")
    parser.add_argument("--kind", choices=("labelled", "unlabelled", "collapse"), default="labelled")
    parser.add_argument(
        "--rows", help="names, with commas between; `<loss> beside simclr` is with a self-supervised term"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of each training (default: the configuration's)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    usual = (
        [_DEFAULT, *_LOSSES, *(f"{name} beside simclr" for name in _LOSSES)]
        if given.kind == "labelled"
        else _OBJECTIVES
    )
    rows = given.rows.split(",") if given.rows else [_RAW, _UNTRAINED, *usual]
    machine = describe_machine()
    section(f"Losses on digits ({given.kind})", machine_line(machine))
    figures: list[Figures] = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(given.seeds):
            items = prepare(seed, Path(name), given.kind)
            if given.kind == "collapse":
                chosen = settings_of("byol", "unlabelled", seed, given.epochs)
                print(f"- seed {seed}, as it stands: {collapse(items, chosen, normalised=True)}")
                print(f"- seed {seed}, nothing is normalised: {collapse(items, chosen, normalised=False)}", flush=True)
                continue
            for row in rows:
                found = embed_row(row, items, settings_of(row, given.kind, seed, given.epochs))
                figures.append(figures_of(row, items, seed, found))
                notify(f"seed {seed}: {figures[-1]}")
    if figures:
        section(f"Means of {given.seeds} seeds", table(rows, figures))
    write_json(given.json, {"machine": machine, "figures": [asdict(each) for each in figures]})


if __name__ == "__main__":
    main(sys.argv[1:])
