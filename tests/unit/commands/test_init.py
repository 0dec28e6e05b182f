"""`ruiji init` on folders, tables and sounds: what it writes is a configuration that fits what lies there."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.cli import main
from sim_transforms.commands.init import configuration, init, look
from sim_transforms.errors import CatalogError, MediaError, UsageError
from sim_transforms.media.catalog import plan_catalog
from sim_transforms.media.remote import FileStatus, RemoteFiles
from sim_transforms.settings.loader import load_settings
from sim_transforms.settings.stages import ImageSettings, Settings, SoundSettings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _picture(path: Path, width: int, height: int, channels: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if channels == 1 else (height, width, channels)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


def _sound(path: Path, rate: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(rate * seconds))
    soundfile.write(buffer, samples, rate, format="WAV")
    path.write_bytes(buffer.getvalue())


def _settings(source: str) -> tuple[Settings, str]:
    path = init(source, None, None, False)
    return load_settings(str(path)), path.read_text()


def test_pictures_in_folders_of_their_classes() -> None:
    for number in range(10):
        _picture(Path(f"My Pets/cats/{number}.jpg"), 100 + 9 * number, 120, 3, number)
        _picture(Path(f"My Pets/dogs/{number}.png"), 90, 150, 3, number)
    _picture(Path("My Pets/one/0.png"), 97, 97, 3)
    Path("My Pets/cats/broken.jpg").write_bytes(b"no picture")
    settings, text = _settings("My Pets")
    assert (settings.name, settings.catalog.source) == ("my-pets", "My Pets")
    assert isinstance(settings.media, ImageSettings)
    assert (settings.media.height, settings.media.width, settings.media.channels) == (64, 64, 3)
    assert settings.media.resize == "fit"
    assert (settings.train.loss, settings.train.classes_per_batch) == ("multi_similarity", 2)
    assert settings.index.page_items == 20_000
    assert "22 pictures, labels: 3 (2 of two items or more, the smallest has 1)" in text
    assert "1 of 22 that were tried could not be decoded" in text


def test_flat_folder_gets_a_table_beside_the_configuration() -> None:
    for number in range(5):
        _picture(Path(f"scans/{number},a.png"), 40, 40, 1, number)
    Path("scans/.hidden").write_text("x")
    settings, text = _settings("scans")
    assert settings.catalog.source == "configs/scans.csv"
    plan = plan_catalog(settings.catalog.source, settings.catalog.allow_outside)
    assert plan.rows == 5
    assert isinstance(settings.media, ImageSettings)
    assert (settings.media.height, settings.media.channels, settings.media.resize) == (32, 1, "stretch")
    assert settings.train.loss == "none"
    assert "5 pictures without labels" in text


def test_sounds_shorter_than_a_clip() -> None:
    for number in range(3):
        _sound(Path(f"calls/a/{number}.wav"), 16_000, 0.4 + number)
    settings, text = _settings("calls")
    assert isinstance(settings.media, SoundSettings)
    assert settings.media.sample_rate == 16_000
    assert (settings.media.seconds, settings.media.hop_seconds) == (1.4, 0.7)
    assert settings.media.min_seconds == pytest.approx(0.2)
    assert "the sounds last 0.4 to 2.4 s" in text


def test_table_with_labels_and_rows_that_name_nothing() -> None:
    rows = []
    for number in range(8):
        _picture(Path(f"media/{number}.png"), 30, 30, 1, number)
        rows.append({"item_id": f"i{number}", "uri": f"media/{number}.png", "label": "ab"[number % 2], "price": number})
    rows.append({"item_id": "out", "uri": "../gone.png", "label": "a", "price": 1})
    Path("shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings, text = _settings("shop.jsonl")
    assert settings.catalog.source == "shop.jsonl"
    assert "8 pictures, labels: 2" in text
    assert "1 further rows name no file" in text


def test_page_is_proposed_for_catalogs_that_it_can_show() -> None:
    for number in range(2):
        _picture(Path(f"p/a/{number}.png"), 20, 20, 1, number)
    looked = look("p", False)
    for items, proposed in ((20_000, True), (20_001, False)):
        assert ("page_items: 20000" in configuration("p", "p", replace(looked, items=items))) is proposed


def test_names_that_yaml_would_read_otherwise_are_quoted() -> None:
    _picture(Path('odd "name": #1/a/0.png'), 20, 20, 1)
    settings, _ = _settings('odd "name": #1')
    assert settings.catalog.source == 'odd "name": #1'
    assert settings.name == "odd-name-1"


def test_file_that_is_there_is_kept_unless_forced() -> None:
    _picture(Path("p/a/0.png"), 20, 20, 1)
    assert init("p", "mine.yaml", "other", False) == Path("mine.yaml")
    assert load_settings("mine.yaml").name == "other"
    Path("mine.yaml").write_text("mine")
    with pytest.raises(UsageError, match="a file is there; --force writes over it"):
        init("p", "mine.yaml", None, False)
    assert Path("mine.yaml").read_text() == "mine"
    init("p", "mine.yaml", None, True)
    assert load_settings("mine.yaml").name == "p"


def test_what_is_no_catalog_is_refused_and_nothing_is_written() -> None:
    with pytest.raises(CatalogError, match="there is no such file or folder"):
        init("nowhere", None, None, False)
    Path("texts/a").mkdir(parents=True)
    Path("texts/a/readme.txt").write_text("words")
    with pytest.raises(UsageError, match="of 1 files that were tried none is a picture or a sound"):
        init("texts", None, None, False)
    Path("flat").mkdir()
    Path("flat/0.png").write_text("no picture")
    with pytest.raises(UsageError, match="none is a picture or a sound"):
        init("flat", None, None, False)
    with pytest.raises(UsageError, match=r"a \.yaml file is expected"):
        init("flat", "flat.csv", None, False)
    assert not Path("configs").exists()
    assert not Path("flat.csv").exists()


def test_a_refused_look_leaves_what_is_there_in_spite_of_force() -> None:
    _picture(Path("p/0.png"), 20, 20, 1)
    path = init("p", None, None, False)
    before = path.read_bytes(), path.with_suffix(".csv").read_bytes()
    Path("p/0.png").write_text("no picture")
    with pytest.raises(UsageError, match="none is a picture or a sound"):
        init("p", None, None, True)
    assert (path.read_bytes(), path.with_suffix(".csv").read_bytes()) == before


@pytest.mark.parametrize("folder", ["2024-01-15", "2024", "no", "1e5", "null"])
def test_folders_whose_names_yaml_takes_for_something_else(folder: str) -> None:
    _picture(Path(f"{folder}/a/0.png"), 20, 20, 1)
    settings, _ = _settings(folder)
    assert (settings.name, settings.catalog.source) == (folder, folder)


def test_tables_and_texts_beside_pictures_are_no_items() -> None:
    _picture(Path("mixed/0.png"), 20, 20, 1)
    for name in ("labels.csv", "readme.txt", "Thumbs.db"):
        (Path("mixed") / name).write_text("x")
    settings, _ = _settings("mixed")
    assert plan_catalog(settings.catalog.source, settings.catalog.allow_outside).rows == 1


def test_remote_files_that_cannot_be_fetched_are_counted_as_not_decoded() -> None:
    content = io.BytesIO()
    Image.new("L", (20, 20), 7).save(content, "PNG")

    class Bucket(RemoteFiles):
        """Lists two files, and gives one."""

        def reads(self, uri: str) -> bool:
            return True

        def prepare(self, uri: str) -> None:
            pass

        def list(self, folder: str, most: int | None = None) -> dict[str, FileStatus]:
            return {f"gs://b/c/{name}": FileStatus(9, 1) for name in ("a/0.png", "a/1.png")}

        def status(self, uri: str) -> FileStatus | None:
            return FileStatus(9, 1)

        def fetch(self, uri: str, path: Path, most_bytes: int | None) -> None:
            assert most_bytes
            if uri.endswith("1.png"):
                raise MediaError("missing", "it went")
            path.write_bytes(content.getvalue())

    path = init("gs://b/c", None, None, False, Bucket())
    assert "2 pictures" in path.read_text()
    assert "1 of 2 that were tried could not be decoded" in path.read_text()


def test_command_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    _picture(Path("p/a/0.png"), 20, 20, 1)
    assert main(["init", "p"]) == 0
    assert "ruiji run --config configs/p.yaml" in capsys.readouterr().out
    assert main(["init", "p", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"config": "configs/p.yaml"}
