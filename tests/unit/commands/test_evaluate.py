"""Which clips are asked and which may answer, and the plain spectra that are compared beside the model."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sim_transforms.commands.artefacts import DecodedMedia, EmbeddedItems
from sim_transforms.commands.evaluate import draw_items, load_evaluation, mean_spectra, write_evaluation
from sim_transforms.errors import DamagedArtefact
from sim_transforms.media.sound import sound_shape
from sim_transforms.settings.stages import SoundSettings

SOUND = SoundSettings(sample_rate=8000, seconds=1.0, hop_seconds=1.0)


def _items(*rows: tuple[str, str, str]) -> EmbeddedItems:
    columns = [np.array(column, dtype=str) for column in zip(*rows, strict=True)]
    return EmbeddedItems(*columns, np.zeros((len(rows), 2), np.float32))


def test_no_clip_of_a_querys_own_sound_is_in_the_gallery() -> None:
    items = _items(
        ("a#0", "x", "test"), ("a#1", "x", "train"), ("b#0", "x", "train"), ("a#b#0", "x", "train"), ("c#0", "", "test")
    )
    queries, gallery = draw_items(items, clips=True)
    assert (queries.tolist(), gallery.tolist()) == ([0], [2, 3])


def test_pictures_whose_ids_look_like_clips_are_all_drawn() -> None:
    items = _items(("a#0", "x", "test"), ("a#1", "x", "train"))
    queries, gallery = draw_items(items, clips=False)
    assert (queries.tolist(), gallery.tolist()) == ([0], [1])


class _Tones(DecodedMedia):
    """Clips of one tone each, of the pitch that their ids say."""

    def __init__(self) -> None:
        self.manifest = type("Manifest", (), {"media": sound_shape(SOUND)})()

    def pixels(self, item_ids: list[str]) -> np.ndarray:  # type: ignore[override]
        times = np.arange(SOUND.sample_rate) / SOUND.sample_rate
        waves = [np.sin(2 * np.pi * float(item_id) * times) for item_id in item_ids]
        return np.rint(10_000 * np.stack(waves)).astype(np.int16)


def test_mean_spectra_tell_tones_apart_and_know_no_batches(tmp_path: Path) -> None:
    tones = [str(hertz) for hertz in (200, 400, 800, 1600)]
    found = mean_spectra(_Tones(), tones)
    assert (found.shape, found.dtype) == ((4, SOUND.mel_bands), np.float32)
    loudest = found.argmax(axis=1).tolist()
    assert loudest == sorted(set(loudest))
    many = mean_spectra(_Tones(), tones * 20)
    np.testing.assert_allclose(many, np.tile(found, (20, 1)), atol=1e-3)
    assert mean_spectra(_Tones(), []).shape == (0, SOUND.mel_bands)


def test_an_evaluation_is_that_of_one_model(tmp_path: Path) -> None:
    assert load_evaluation(tmp_path, "ab") is None
    write_evaluation({"model": "ab", "known": {}}, pa.table({"label": ["x"]}), tmp_path)
    assert load_evaluation(tmp_path, "ab") == {"model": "ab", "known": {}}
    assert load_evaluation(tmp_path, "cd") is None
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(DamagedArtefact, match="ruiji evaluate"):
        load_evaluation(tmp_path, "ab")
