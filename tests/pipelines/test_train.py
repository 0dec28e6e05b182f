"""`ruiji train` by the command: killed and resumed, refused by the gate, searched over settings, compared."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sim_transforms.commands.evaluate import evaluate
from sim_transforms.errors import ModelMismatch
from sim_transforms.records.manifests import EmbeddingsManifest, ModelManifest
from tests.pipelines.small_catalogs import ONE_PROCESS, command, configuration, digits_catalog, quiet, ruiji

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and the examples of 400 digits in `work/`."""
    folder = tmp_path_factory.mktemp("train")
    train = {"epochs": 3, "steps_per_epoch": 20, "checkpoint_steps": 4}
    configuration(folder, digits_catalog(folder / "catalog", 400), train=train)
    ruiji("preprocess", *_where(folder, "work"), *ONE_PROCESS)
    return folder


def _where(folder: Path, name: str) -> list[str]:
    return ["--config", str(folder / "small.yaml"), "--workdir", str(folder / name)]


def _train(folder: Path, name: str, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    examples = ["--examples", str(folder / "work" / "examples")]
    return ruiji("train", *_where(folder, name), *examples, *arguments, expect=expect)


def _steps(folder: Path, name: str) -> int:
    logs = list((folder / name / "training").glob("*/steps.jsonl"))
    return logs[0].read_text().count('"loss"') if logs else 0


def test_train_killed_twice_gives_the_model_of_an_undisturbed_run(prepared: Path) -> None:
    _train(prepared, "whole")
    arguments = [*_where(prepared, "killed"), "--examples", str(prepared / "work" / "examples")]
    for least in (7, 29):
        process = subprocess.Popen(command("train", *arguments), env=quiet(), start_new_session=True)
        while _steps(prepared, "killed") < least and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (prepared / "killed" / "model").exists()
    _train(prepared, "killed")
    whole, killed = (ModelManifest.load(prepared / name / "model") for name in ("whole", "killed"))
    assert killed == whole


def test_train_a_model_that_is_worse_is_refused_and_the_one_in_use_stays(prepared: Path) -> None:
    _train(prepared, "gate")
    before = (prepared / "gate" / "model" / "manifest.json").read_bytes()
    worse = (
        "--set",
        "train.learning_rate=0.000000001",
        "--set",
        "train.select_by=map_at_r",
        "--set",
        "train.average=0",
    )
    done = _train(prepared, "gate", *worse, expect=1)
    assert "map_at_r" in done.stderr
    assert "worse on" in done.stderr
    assert (prepared / "gate" / "model" / "manifest.json").read_bytes() == before
    _train(prepared, "gate", *worse, "--set", "train.gate=false")
    assert (prepared / "gate" / "model" / "manifest.json").read_bytes() != before


def test_train_trials_writes_the_best_settings_and_leaves_the_model(prepared: Path) -> None:
    search = ("--set", "train.search={learning_rate: [0.0001, 0.01]}", "--set", "train.epochs=1")
    told = json.loads(_train(prepared, "trials", *search, "--trials", "2", "--json").stdout.splitlines()[-1])
    assert len(told["trials"]) == 2
    (best,) = (prepared / "trials" / "trials").glob("*/best.yaml")
    assert str(told["best"]["chosen"]["learning_rate"])[:6] in best.read_text()
    assert not (prepared / "trials" / "model").exists()


def test_evaluate_compare_shows_two_models_side_by_side(prepared: Path) -> None:
    _train(prepared, "first")
    _train(prepared, "second", "--set", "train.seed=1", "--set", "train.epochs=1")
    shutil.copytree(prepared / "work" / "examples", prepared / "compare" / "examples")
    models = [str(prepared / name / "model") for name in ("first", "second")]
    done = ruiji("evaluate", *_where(prepared, "compare"), "--compare", *models, "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["known"]["precision_at_1"]["low"] <= told["known"]["precision_at_1"]["high"]
    assert 0 < told["overlap_at_10"] < 1
    assert told["changed"][0]["overlap"] < 1
    same = ruiji("evaluate", *_where(prepared, "compare"), "--compare", models[0], models[0], "--json")
    assert json.loads(same.stdout.splitlines()[-1])["overlap_at_10"] == 1.0


def test_evaluate_after_train_embeds_with_the_new_model_and_refuses_vectors_of_another(prepared: Path) -> None:
    folder = prepared / "anew"
    shutil.copytree(prepared / "work" / "examples", folder / "examples")
    fingerprints = []
    for seed in ("0", "1"):
        further = ("--set", f"train.seed={seed}", "--set", "train.epochs=1", "--set", "train.gate=false")
        ruiji("train", *_where(prepared, "anew"), *further)
        done = ruiji("evaluate", *_where(prepared, "anew"), *further, *ONE_PROCESS, "--json")
        fingerprints.append(json.loads(done.stdout.splitlines()[-1])["model"])
        assert fingerprints[-1] == ModelManifest.load(folder / "model").fingerprint
        assert fingerprints[-1] == EmbeddingsManifest.load(folder / "embeddings").model
        shutil.copytree(folder / "model", folder / f"model-{seed}")
    assert fingerprints[0] != fingerprints[1]
    with pytest.raises(ModelMismatch, match="embed the examples"):
        evaluate(folder / "examples", folder / "embeddings", folder / "model-0", space="cosine")
