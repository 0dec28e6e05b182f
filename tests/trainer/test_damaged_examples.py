"""Examples, logs and models in use that are not as they must be: said before training, with what to do."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sim_transforms.errors import DamagedArtefact, UsageError
from sim_transforms.records.manifests import ModelManifest
from sim_transforms.settings.training import TrainSettings
from trainer.gate import load_in_use
from trainer.logs import StepLog
from trainer.task import make_learner
from trainer.training_data import TrainingData

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(self_supervised="none")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 10] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _replace_by_nothing(path: Path) -> None:
    path.write_text("{}")


DAMAGES: list[tuple[str, Callable[[Path], None]]] = [
    ("offsets.parquet", _flip),
    ("offsets.parquet", _cut),
    ("offsets.parquet", Path.unlink),
    ("statistics.json", _replace_by_nothing),
    ("statistics.json", Path.unlink),
    ("examples-00000-of-00002.tfrecord", _cut),
    ("examples-00000-of-00002.tfrecord", Path.unlink),
    ("transform/transform_fn/saved_model.pb", Path.unlink),
    ("transform/transform_fn/saved_model.pb", _cut),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES, ids=[f"{n} {d.__name__}" for n, d in DAMAGES])
def test_damaged_examples_are_named_before_training(
    digit_examples: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    examples = Path(shutil.copytree(digit_examples, tmp_path / "examples"))
    (found,) = sorted(examples.glob(name))
    damage(found)
    with pytest.raises(DamagedArtefact, match="ruiji preprocess") as error:
        TrainingData(examples, SETTINGS).close()
    assert name.split("/")[0] in str(error.value)


def test_a_model_in_use_that_cannot_be_loaded_is_said_before_training(digit_examples: Path, tmp_path: Path) -> None:
    data = TrainingData(digit_examples, SETTINGS)
    assert load_in_use(tmp_path / "nowhere", data) is None
    shape = {"embedding_size": 4, "space": "cosine", "train_labels": ("0", "1"), "split_seed": 0, "best_epoch": 1}
    manifest = ModelManifest(
        fingerprint="f", media=data.manifest.media, decoder=data.manifest.decoder, metrics={}, calibration=None,
        settings={}, statistics=None, **shape,
    )  # fmt: skip
    (tmp_path / "manifest.json").write_text(manifest.text())
    with pytest.raises(UsageError, match=r"cannot be loaded.*train\.gate=false"):
        load_in_use(tmp_path, data)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match=r"train\.gate=false"):
        load_in_use(tmp_path, data)
    data.close()


def test_accumulating_more_batches_than_there_are_is_refused(digit_examples: Path) -> None:
    settings = replace(SETTINGS, epochs=2, steps_per_epoch=3, accumulate=7)
    data = TrainingData(digit_examples, settings)
    with pytest.raises(UsageError, match=r"train\.accumulate: found 7, more than the 6 steps"):
        make_learner(data, settings, Path)
    make_learner(data, replace(settings, accumulate=6), Path)
    data.close()


def test_lines_of_the_log_that_are_none_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe{"step": 3\nnull\n[1]\n{"step": 2}\n{"step": 9}\n{"st')
    with StepLog(path, 2) as log:
        log.write(step=3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
