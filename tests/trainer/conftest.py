"""Examples to train on, made once by the command."""

from pathlib import Path

import pytest

from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog, ruiji
from tests.pipelines.sound_catalogs import sounds_catalog, write_rows


@pytest.fixture(scope="session")
def digit_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`examples/` of 300 digits, of which every fifth has no label."""
    folder = tmp_path_factory.mktemp("digits")
    catalog = digits_catalog(folder / "catalog", 300)
    lines = catalog.read_text().splitlines()
    label = lines[0].split(",").index("label")
    rows = [line.split(",") for line in lines]
    for place, row in enumerate(rows[1:]):
        row[label] = "" if place % 5 == 0 else row[label]
    catalog.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return _preprocess(folder, configuration(folder, catalog))


@pytest.fixture(scope="session")
def sound_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`examples/` of clips of melodies of three classes."""
    folder = tmp_path_factory.mktemp("sounds")
    write_rows(folder / "media" / "catalog.csv", sounds_catalog(folder / "media", 12))
    media = {"kind": "audio", "sample_rate": 8000, "seconds": 1.0, "hop_seconds": 0.5, "window": 512, "step": 256}
    return _preprocess(
        folder, configuration(folder, folder / "media" / "catalog.csv", media={**media, "mel_bands": 32})
    )


def _preprocess(folder: Path, config: Path) -> Path:
    ruiji("preprocess", "--config", str(config), "--workdir", str(folder / "work"), *ONE_PROCESS)
    return folder / "work" / "examples"
