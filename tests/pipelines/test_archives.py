"""A catalog in archives: published, brought up to date, and searched like any other."""

import csv
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from sim_transforms.lookup.open import open_version
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog, ruiji

pytestmark = pytest.mark.slow


def _pack(folder: Path, rows: list[dict[str, str]], media: Path) -> None:
    """Half of the pictures in a tar, half in a zip, by class."""
    with tarfile.open(folder / "1.tar", "w") as archive, zipfile.ZipFile(folder / "2.zip", "w") as other:
        for number, row in enumerate(rows):
            name = f"{row['label']}/{row['item_id']}.png"
            if number % 2:
                archive.add(media / row["uri"], name)
            else:
                other.write(media / row["uri"], name, zipfile.ZIP_DEFLATED)
        other.writestr("0/broken.png", b"no picture")


def test_archives_are_published_and_brought_up_to_date(tmp_path: Path) -> None:
    rows = list(csv.DictReader(digits_catalog(tmp_path / "media", 90).read_text().splitlines()))
    packed = tmp_path / "packed"
    packed.mkdir()
    config = str(configuration(tmp_path, packed, reindex={"rebuild_above": 0.9}))
    where = ("--config", config, "--workdir", str(tmp_path / "work"), "--json", *ONE_PROCESS)
    _pack(packed, rows[:-10], tmp_path / "media")
    first = json.loads(ruiji("run", *where).stdout.splitlines()[-1])
    assert (first["items"], first["accepted"], first["rejected"]) == (81, 80, 1)
    _pack(packed, rows[4:], tmp_path / "media")
    second = json.loads(ruiji("reindex", *where).stdout.splitlines()[-1])
    assert (second["how"], second["added"], second["removed"], second["inferences"]) == ("patched", 10, 4, 10)
    opened = open_version(str(tmp_path / "work" / "store"))
    ids = {f"{row['label']}/{row['item_id']}.png" for row in rows[4:]}
    assert set(opened.items.column("item_id").to_pylist()) == ids
    assert set(opened.items.column("label").to_pylist()) == {row["label"] for row in rows[4:]}
