"""A catalog whose versions lie in a bucket: published, brought up to date, asked about, forgotten from."""

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from sim_transforms.lookup.open import open_version
from sim_transforms.lookup.verify import verify_version
from sim_transforms.storage.gcs import GcsStore
from sim_transforms.storage.versions import list_versions
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog

pytestmark = pytest.mark.slow


@pytest.fixture
def run(gcs: GcsStore, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a command on the catalog under tmp_path and the bucket; gives its JSON."""
    config = configuration(tmp_path, digits_catalog(tmp_path / "media", 80), index={"page_items": 100})
    where = ("--workdir", str(tmp_path / "work"), "--set", f"store={gcs.url}", "--json")

    def call(*arguments: str) -> dict[str, Any]:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            assert main([*arguments, "--config", str(config), *where]) == 0
        return json.loads(shown.getvalue().splitlines()[-1])

    return call


def test_bucket_is_kept_fresh_and_forgets(run: Callable[..., dict[str, Any]], gcs: GcsStore, tmp_path: Path) -> None:
    catalog = tmp_path / "media" / "small.csv"
    rows = list(csv.DictReader(io.StringIO(catalog.read_text())))

    def write(kept: list[dict[str, str]]) -> None:
        with catalog.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(kept)

    write(rows[:-10])
    first = run("run", *ONE_PROCESS)["version"]
    write(rows[5:])
    found = run("reindex", *ONE_PROCESS)
    assert (found["how"], found["added"], found["removed"], found["inferences"]) == ("patched", 10, 5, 10)
    assert run("reindex", *ONE_PROCESS)["version"] is None
    gone, kept = rows[0]["item_id"], rows[-1]["item_id"]
    assert run("why", gone)["status"] == "withdrawn"
    standing = run("why", kept)
    assert (standing["status"], standing["published"]["version"]) == ("published", found["version"])
    diff = run("versions", "diff", first)
    assert (diff["added"]["count"], diff["removed"]["count"]) == (10, 5)
    write(rows[5:-1])
    run("forget", kept, *ONE_PROCESS)
    opened = open_version(gcs.url)
    # The second version held it and is gone; the first one never did.
    assert [entry.version for entry in list_versions(gcs)] == [first, opened.version]
    assert kept not in opened.items.column("item_id").to_pylist()
    assert verify_version(gcs, opened.version) == []
    start = f"versions/{opened.version}/page/"
    page = {info.name.removeprefix(start): gcs.read(info.name) for info in gcs.list(start)}
    assert not [name for name, data in page.items() if kept.encode() in data]
    # Each item that is left has its picture, though most of them stood in the page of before alone.
    pictures = [data.count(b'\n"') for name, data in sorted(page.items()) if name.startswith("pictures/")]
    assert sum(pictures) == opened.manifest.items == 74
    assert not list(gcs.list("leases/readers"))
