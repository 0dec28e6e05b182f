"""A changed catalog: what is embedded, what is found afterwards, and when the index is built anew."""

import base64
import contextlib
import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from sim_transforms.lookup.open import open_version
from sim_transforms.media.decode import decode_media, media_shape
from sim_transforms.report.page import picture_png
from sim_transforms.settings.stages import ImageSettings
from tests.pipelines.small_catalogs import ONE_PROCESS, TWO_PROCESSES, configuration, digits_catalog
from tests.pipelines.version_pages import checked_page, told_anywhere

pytestmark = pytest.mark.slow

ITEMS, HELD_BACK = 200, 30
SECTIONS = {"reindex": {"rebuild_above": 0.5}, "index": {"page_items": 1000}}


class Shop:
    """A catalog that changes, its configuration and its store."""

    def __init__(self, folder: Path) -> None:
        """Publishes all digits but the last thirty."""
        self.media = folder / "media"
        self.catalog = digits_catalog(self.media, ITEMS)
        with self.catalog.open() as file:
            self.rows = list(csv.DictReader(file))
        self.work = folder / "work"
        self.config = configuration(folder, self.catalog, **SECTIONS)
        self.write(self.rows[:-HELD_BACK])
        self.run("run", *ONE_PROCESS)

    def write(self, rows: list[dict[str, str]]) -> None:
        """Replaces the catalog."""
        with self.catalog.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)

    def run(self, *arguments: str) -> dict[str, object]:
        """Runs a command in this process; its JSON."""
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            assert main([*arguments, "--config", str(self.config), "--workdir", str(self.work), "--json"]) == 0
        return json.loads(shown.getvalue().splitlines()[-1])

    def reindex(self, *flags: str) -> dict[str, object]:
        """`ruiji reindex`."""
        return self.run("reindex", *flags, *ONE_PROCESS)

    def pictures(self) -> dict[str, str]:
        """What a page shows of the media as they are now."""
        return {
            row["item_id"]: base64.b64encode(picture_png(_pixels(self.media / row["uri"]))).decode()
            for row in self.rows
        }

    def copy(self, folder: Path) -> "Shop":
        """The same in another folder, media and catalog too."""
        other = object.__new__(Shop)
        shutil.copytree(self.media, folder / "media")
        shutil.copytree(self.work, folder / "work")
        other.media, other.work, other.rows = folder / "media", folder / "work", self.rows
        other.catalog = folder / "media" / self.catalog.name
        other.config = configuration(folder, other.catalog, **SECTIONS)
        return other


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A store that is up to date with its catalog."""
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def shop(published: Shop, tmp_path: Path) -> Shop:
    """A copy that a test may change."""
    return published.copy(tmp_path)


def _pixels(path: Path) -> np.ndarray:
    shape = media_shape(ImageSettings())
    return np.frombuffer(decode_media(path.read_bytes(), shape).parts[0].media, np.uint8).reshape(shape.shape)


def _matches(shop: Shop, item_id: str, k: int = 10) -> list[str]:
    opened = open_version(str(shop.work / "store"))
    return [match.item_id for match in opened.search_item(item_id, k=k)]


def test_reindex_of_nothing_changed_publishes_nothing(shop: Shop) -> None:
    before = (shop.work / "store" / "LATEST").read_text()
    found = shop.reindex()
    assert (found["version"], found["how"], found["inferences"]) == (None, "unchanged", 0)
    assert (found["items"], found["skipped"]) == (ITEMS - HELD_BACK, ITEMS - HELD_BACK)
    assert (shop.work / "store" / "LATEST").read_text() == before
    assert found["files_read"] == ITEMS - HELD_BACK
    assert shop.reindex()["files_read"] == 0
    assert shop.reindex("--reread")["files_read"] == ITEMS - HELD_BACK


def test_reindex_embeds_what_is_new_or_changed_and_patches(shop: Shop) -> None:
    kept = shop.rows[10:]
    replaced = {row["item_id"] for row in kept[:6]}
    picture = shop.media / kept[100]["uri"]
    for row in kept[:6]:
        Image.fromarray(255 - np.asarray(Image.open(shop.media / row["uri"]))).save(shop.media / row["uri"])
    kept[20]["place"] = "777"
    shop.write(kept)
    assert picture.is_file()
    found = shop.reindex()
    assert found["how"] == "patched"
    assert (found["added"], found["changed"], found["removed"], found["metadata_changed"]) == (HELD_BACK, 6, 10, 1)
    assert found["inferences"] == HELD_BACK + 6
    assert found["items"] == found["accepted"] == ITEMS - 10
    verified = shop.run("versions", "verify")
    assert verified["problems"] == []
    opened = open_version(str(shop.work / "store"))
    assert set(opened.items.column("item_id").to_pylist()) == {row["item_id"] for row in kept}
    removed = {row["item_id"] for row in shop.rows[:10]}
    for row in kept[::7]:
        assert not removed & set(_matches(shop, row["item_id"], 20))
    places = dict(
        zip(opened.items.column("item_id").to_pylist(), opened.items.column("place").to_pylist(), strict=True)
    )
    assert places[kept[20]["item_id"]] == 777
    assert opened.manifest.churn == pytest.approx(36 / 170, abs=1e-6)
    known = {row["item_id"] for row in kept}
    assert checked_page(str(shop.work / "store")) == {i: png for i, png in shop.pictures().items() if i in known}
    assert told_anywhere(str(shop.work / "store"), shop.rows[0]["item_id"]) == []
    assert shop.reindex()["how"] == "unchanged"
    assert replaced <= set(opened.items.column("item_id").to_pylist())


def test_report_after_a_reindex_shows_what_is_published_now(shop: Shop, tmp_path: Path) -> None:
    shop.write(shop.rows[20:])
    shop.reindex()
    shop.run("report", "--output", str(tmp_path / "page"))
    page = (tmp_path / "page" / "index.html").read_text()
    assert f"<dd>{ITEMS - 20:,}<small>indexed</small>" in page
    assert "nothing was dropped" not in page
    assert "<figcaption>" in page
    assert not any(row["item_id"] in page for row in shop.rows[:20])
    recalls = [float(found) for found in re.findall(r"ef \d+: recall (\d\.\d+)", page)]
    assert recalls
    assert max(recalls) > 0.99


def test_reindex_agrees_with_an_index_that_is_built_anew(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "anew").mkdir()
    anew = shop.copy(tmp_path / "anew")
    for other in (shop, anew):
        other.write(other.rows[12:])
    assert shop.reindex()["how"] == "patched"
    assert anew.reindex("--set", "reindex.rebuild_above=0")["how"] == "rebuilt"
    pages = [checked_page(str(other.work / "store")) for other in (shop, anew)]
    assert pages[0] == pages[1]
    assert None not in pages[0].values()
    same = [
        len(set(_matches(shop, row["item_id"])) & set(_matches(anew, row["item_id"]))) / 10 for row in shop.rows[12:]
    ]
    assert np.mean(same) >= 0.97


def test_reindex_takes_items_out_whose_media_cannot_be_read_any_more(shop: Shop) -> None:
    shop.write(shop.rows[:-HELD_BACK])
    (shop.media / shop.rows[0]["uri"]).write_bytes(b"no picture")
    found = shop.reindex()
    assert (found["rejected"], found["changed"], found["inferences"]) == (1, 0, 0)
    opened = open_version(str(shop.work / "store"))
    assert shop.rows[0]["item_id"] not in opened.items.column("item_id").to_pylist()


@pytest.mark.parametrize("other", ["m=8", "shard_items=50", "builder=insertion"])
def test_reindex_with_other_parameters_builds_anew_without_embedding(other: str, shop: Shop) -> None:
    found = shop.reindex("--set", f"index.{other}")
    assert (found["how"], found["inferences"], found["added"]) == ("rebuilt", 0, 0)
    assert shop.reindex("--set", f"index.{other}")["version"] is None
    shop.write(shop.rows[5:-HELD_BACK])
    found = shop.reindex("--set", f"index.{other}")
    assert (found["how"], found["inferences"], found["accepted"]) == ("patched", 0, ITEMS - HELD_BACK - 5)


def test_reindex_for_another_recall_target_measures_the_same_index(shop: Shop) -> None:
    before = open_version(str(shop.work / "store")).manifest
    found = shop.reindex("--set", "index.recall_target=0.999")
    assert (found["how"], found["inferences"]) == ("patched", 0)
    after = open_version(str(shop.work / "store")).manifest
    assert (after.recall_target, after.index) == (0.999, before.index)
    assert shop.reindex("--set", "index.recall_target=0.999")["version"] is None


def test_reindex_writes_a_page_where_it_is_wanted_now_and_none_where_it_is_not(shop: Shop) -> None:
    store = str(shop.work / "store")
    before = checked_page(store)
    assert shop.reindex("--set", "index.page_items=0")["how"] == "patched"
    assert not open_version(store).manifest.has_page
    assert shop.reindex("--set", "index.page_items=0")["how"] == "unchanged"
    found = shop.reindex()
    assert (found["how"], found["inferences"]) == ("patched", 0)
    assert checked_page(store) == before


def test_reindex_drops_a_value_that_the_column_of_now_cannot_hold(shop: Shop) -> None:
    for number, row in enumerate(shop.rows):
        row["price"] = "1.5" if number == 0 else str(number)
    shop.write(shop.rows[:-HELD_BACK])
    assert shop.reindex()["metadata_changed"] == ITEMS - HELD_BACK
    shop.write(shop.rows[1:-HELD_BACK])
    found = shop.reindex()
    assert (found["how"], found["removed"], found["inferences"]) == ("patched", 1, 0)
    prices = open_version(str(shop.work / "store")).items.column("price")
    assert prices.to_pylist() == [int(shop.rows[1 + n]["price"]) for n in _places(shop)]


def _places(shop: Shop) -> list[int]:
    ids = [row["item_id"] for row in shop.rows[1:]]
    return [ids.index(i) for i in open_version(str(shop.work / "store")).items.column("item_id").to_pylist()]


def test_reindex_refuses_an_id_that_a_rejected_row_repeats(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.write([*shop.rows[:-HELD_BACK], {**shop.rows[0], "uri": "../outside.png"}])
    flags = ["reindex", "--config", str(shop.config), "--workdir", str(shop.work), *ONE_PROCESS]
    assert main(flags) == 2
    assert "more than once" in capsys.readouterr().err


def test_reindex_does_not_undo_a_rollback_to_another_model(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    first = open_version(str(shop.work / "store")).version
    second = shop.run("run", "--set", "train.seed=7", *ONE_PROCESS)["version"]
    assert second != first
    shop.run("versions", "rollback", first)
    flags = ["reindex", "--config", str(shop.config), "--workdir", str(shop.work), *ONE_PROCESS]
    assert main(flags) == 1
    assert f"rollback {second}" in capsys.readouterr().err
    assert open_version(str(shop.work / "store")).version == first


def test_reindex_on_two_processes_gives_the_same_version(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    two = shop.copy(tmp_path / "two")
    versions = []
    for other, flags in ((shop, ONE_PROCESS), (two, TWO_PROCESSES)):
        other.write(other.rows[3:])
        versions.append(other.run("reindex", *flags)["version"])
    assert versions[0] == versions[1]
