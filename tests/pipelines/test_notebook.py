"""The Python interface over arrays: what it fits, indexes and finds is what the commands make and find."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipelines.cli import main
from pipelines.notebook import SimilarityModel
from sim_transforms.commands.pictures import checked_pictures
from sim_transforms.errors import NotFound, UsageError

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, Any]
TRAIN = {"epochs": 1, "steps_per_epoch": 3, "examples_per_class": 4, "calibrate_precision": 0.5}


def _digits(count: int) -> tuple[Array, list[int]]:
    found = load_digits()
    return np.rint(found.images[:count] * 255 / 16).astype(np.uint8), found.target[:count].tolist()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SimilarityModel:
    pictures, labels = _digits(120)
    made = SimilarityModel(tmp_path_factory.mktemp("notebook"), train=TRAIN, index={"recall_target": 0.9})
    assert 0 <= made.fit(pictures, labels)["precision_at_1"] <= 1
    assert len(made.index(pictures, labels, ids=[f"digit {n}" for n in range(120)])) == 16
    return made


def test_lookup_finds_each_picture_itself(model: SimilarityModel) -> None:
    pictures, labels = _digits(6)
    found = model.lookup(pictures, k=3)
    assert [matches[0].item_id for matches in found] == [f"digit {n}" for n in range(6)]
    assert [matches[0].metadata["label"] for matches in found] == [str(label) for label in labels]
    assert all(matches[0].distance < 1e-6 and len(matches) == 3 for matches in found)
    assert model.calibration is not None
    assert model.is_match(found[0][0].distance)
    assert not model.is_match(model.calibration.max_distance + 0.1)
    (only_threes,) = model.lookup(pictures[:1], k=4, where="label = '3'")
    assert {match.metadata["label"] for match in only_threes} == {"3"}


def test_commands_ask_the_same_version(model: SimilarityModel, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(model.store).parent.parent
    capsys.readouterr()
    assert main(["search", "--config", str(folder / "index.yaml"), "--item", "digit 5", "--k", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["matches"]
    (found,) = model.lookup(_digits(6)[0][5:], k=5)
    assert [match["item_id"] for match in told] == [match.item_id for match in found[1:]]


def test_another_process_takes_up_what_was_made(model: SimilarityModel, capsys: pytest.CaptureFixture[str]) -> None:
    """A new object of the same folder, whose pictures are of another size: they are brought to that of the model."""
    again = SimilarityModel(model.model.parent.parent, train=TRAIN, index={"recall_target": 0.9})
    large = _digits(3)[0].repeat(4, axis=1).repeat(4, axis=2)
    assert [matches[0].item_id for matches in again.lookup(large, k=1)] == ["digit 0", "digit 1", "digit 2"]
    pictures, labels = _digits(120)
    capsys.readouterr()
    again.fit(pictures, labels)
    assert "train: unchanged, skipped" in capsys.readouterr().err
    again.index(pictures[:30])
    assert {match.item_id for match in again.lookup(pictures[100:101], k=40)[0]} == {str(n) for n in range(30)}


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    pictures, labels = _digits(10)
    empty = SimilarityModel(tmp_path)
    with pytest.raises(UsageError, match="10 pictures, 10 ids and 9 labels"):
        empty.fit(pictures, labels[:9])
    with pytest.raises(NotFound, match="there is no model yet"):
        empty.index(pictures)
    with pytest.raises(NotFound):
        empty.lookup(pictures)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((3, 4)), "found shape"),
        (np.zeros((3, 4, 4, 2), np.uint8), "found shape"),
        (np.zeros((3, 0, 4), np.uint8), "found shape"),
        (np.full((1, 4, 4), 256), "numbers from 0 to 255"),
        (np.full((1, 4, 4), np.nan), "numbers from 0 to 255"),
        (np.full((1, 4, 4), 0.5), "multiply by 255"),
        (np.array([[["a"]]]), "numbers from 0 to 255"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(pictures: Array, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checked_pictures(pictures)


def test_floats_are_rounded_and_grey_gets_a_channel() -> None:
    found = checked_pictures(np.array([[[0.4, 254.6]]]))
    assert (found.dtype, found.shape, found.ravel().tolist()) == (np.uint8, (1, 1, 2, 1), [0, 255])
