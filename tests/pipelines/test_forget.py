"""An item that must go: no byte of it is left in store, examples or embeddings; what could not be removed is said."""

import contextlib
import csv
import io
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms.commands.artefacts import DecodedMedia, load_embeddings
from sim_transforms.commands.whereabouts import places_in_examples
from sim_transforms.errors import PublishConflict
from sim_transforms.lookup.open import open_version
from sim_transforms.records.manifests import EmbeddingsManifest, ExamplesManifest
from sim_transforms.runs.folders import is_whole
from sim_transforms.storage.leases import READERS, Hold
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import latest, list_versions
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, digits_catalog
from tests.pipelines.version_pages import checked_page

pytestmark = pytest.mark.slow

ITEMS = 120
GONE = "digit-0007"
DAMAGED = "digit-0011"
SECTIONS = {"reindex": {"rebuild_above": 0.9}, "index": {"page_items": 1000}}


@dataclass
class Shop:
    """A small catalog, its configuration, working directory and store."""

    folder: Path
    config: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def store(self) -> str:
        return str(self.work / "store")

    def write(self, keep: Callable[[str], bool]) -> None:
        """Keeps the rows of some items in the catalog."""
        path = self.folder / "media" / "small.csv"
        with path.open() as file:
            rows = list(csv.DictReader(file))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(row for row in rows if keep(row["item_id"]))

    def drop(self, *ids: str) -> None:
        """Takes items out of the catalog."""
        self.write(lambda item_id: item_id not in ids)

    def run(self, *arguments: str, expect: int = 0) -> dict[str, object]:
        """Runs a command in this process; its JSON, empty where it printed none."""
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            code = main([*arguments, "--config", str(self.config), "--workdir", str(self.work), "--json"])
        assert code == expect, shown.getvalue()
        lines = shown.getvalue().splitlines()
        return json.loads(lines[-1]) if lines else {}

    def forget(self, *arguments: str, expect: int = 0) -> dict[str, object]:
        """`ruiji forget`."""
        return self.run("forget", *arguments, *ONE_PROCESS, expect=expect)

    def files(self) -> dict[str, bytes]:
        """Every file of the working directory."""
        files = (p for p in sorted(self.work.rglob("*")) if p.is_file())
        return {p.relative_to(self.work).as_posix(): p.read_bytes() for p in files}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two versions, the second after a change of the catalog; one item was rejected."""
    folder = tmp_path_factory.mktemp("shop")
    catalog = digits_catalog(folder / "media", ITEMS)
    shop = Shop(folder, configuration(folder, catalog, **SECTIONS))
    (folder / "media" / f"{DAMAGED}.png").write_bytes(b"no picture")
    shop.run("run", *ONE_PROCESS)
    shop.drop("digit-0003")
    shop.run("reindex", *ONE_PROCESS)
    return shop


@pytest.fixture
def shop(published: Shop, tmp_path: Path) -> Shop:
    """A copy that a test may change."""
    for name in ("media", "work"):
        shutil.copytree(published.folder / name, tmp_path / name)
    catalog = tmp_path / "media" / "small.csv"
    return Shop(tmp_path, configuration(tmp_path, catalog, **SECTIONS))


def _traces(shop: Shop, item_id: str) -> dict[str, bytes]:
    """What tells an item: its id, its vector as the index and as the embeddings hold it, its media, its picture."""
    items = load_embeddings(shop.work / "embeddings")
    vector = items.vectors[items.item_ids.tolist().index(item_id)]
    return {
        "id": item_id.encode(),
        "indexed": open_version(shop.store).vector_of(item_id).tobytes(),
        "embedded": vector.tobytes(),
        "media": DecodedMedia(shop.work / "examples").pixels([item_id]).tobytes(),
        "picture": (checked_page(shop.store)[item_id] or "").encode(),
    }


def _holding(shop: Shop, data: bytes) -> list[str]:
    return [name for name, content in shop.files().items() if data in content]


def _tables_with(shop: Shop, item_id: str) -> list[str]:
    """Parquet files, which may be compressed, that hold an item."""
    tables = {p.relative_to(shop.work).as_posix(): pq.read_table(p) for p in sorted(shop.work.rglob("*.parquet"))}
    named = {
        name: table.column("item_id").to_pylist() for name, table in tables.items() if "item_id" in table.schema.names
    }
    return [name for name, ids in named.items() if item_id in ids]


def _ids(folder: Path, pattern: str) -> set[str]:
    return {i for p in folder.glob(pattern) for i in pq.read_table(p).column("item_id").to_pylist()}


def test_forget_leaves_no_byte_of_an_item_in_store_examples_or_embeddings(shop: Shop) -> None:
    traces = _traces(shop, GONE)
    assert {name.split("/")[0] for name in _holding(shop, traces["id"])} == {"decoded", "examples", "store"}
    assert any("/page/pictures/" in name for name in _holding(shop, traces["picture"]))
    assert _holding(shop, traces["indexed"])
    assert _holding(shop, traces["media"])
    before = [v.version for v in list_versions(open_store(shop.store))]
    rooms = {"decoded", "embeddings", "examples", "sources", "store"}
    assert {name.split("/")[0] for name in _tables_with(shop, GONE)} == rooms
    shop.drop(GONE)
    found = shop.forget(GONE)
    assert _tables_with(shop, GONE) == []
    for name, data in traces.items():
        assert _holding(shop, data) == [], name
    assert (found["how"], found["before"], found["unknown"]) == ("patched", before[-1], [])
    assert found["model_retrained"] is False
    taken = found["items"][GONE]
    assert taken["index"]["version"] == before[-1]
    assert {name.split("/")[0] for name in taken["files"]} == {"decoded", "examples", "embeddings", "sources"}
    assert taken["deleted"] == before
    assert len(checked_page(shop.store)) == ITEMS - 3
    assert [v.version for v in list_versions(open_store(shop.store))] == [found["version"]]


def test_forgotten_item_is_found_by_no_search_and_the_version_verifies(shop: Shop) -> None:
    shop.drop(GONE)
    shop.forget(GONE)
    assert shop.run("versions", "verify")["problems"] == []
    opened = open_version(shop.store)
    ids = opened.items.column("item_id").to_pylist()
    assert GONE not in ids
    vectors = np.stack([opened.vector_of(item_id) for item_id in ids])
    assert all(GONE not in [m.item_id for m in found] for found in opened.search(vectors, k=20))
    assert shop.run("reindex", *ONE_PROCESS)["how"] == "unchanged"


def test_forget_keeps_the_other_records_and_the_accounts(shop: Shop) -> None:
    items = load_embeddings(shop.work / "embeddings").item_ids.tolist()
    before = DecodedMedia(shop.work / "examples").pixels(items)
    accounts = ExamplesManifest.load(shop.work / "examples").ledger
    shop.drop(GONE)
    shop.forget(GONE)
    kept = [item_id for item_id in items if item_id != GONE]
    examples = shop.work / "examples"
    assert is_whole(examples)
    assert is_whole(shop.work / "embeddings")
    after = DecodedMedia(examples).pixels(kept)
    np.testing.assert_array_equal(after, before[[items.index(item_id) for item_id in kept]])
    manifest = ExamplesManifest.load(examples)
    assert (manifest.items, manifest.ledger.items_in) == (accounts.items_out - 1, accounts.items_in - 1)
    statistics = json.loads((examples / "statistics.json").read_text())
    assert statistics["items"] == sum(n for counts in statistics["labels"].values() for n in counts.values())
    assert statistics["record_bytes"] == sum(p.stat().st_size for p in examples.glob("*.tfrecord"))
    embeddings = EmbeddingsManifest.load(shop.work / "embeddings")
    assert (embeddings.items, embeddings.catalog_digest) == (len(kept), manifest.catalog_digest)
    assert load_embeddings(shop.work / "embeddings").item_ids.tolist() == kept


def test_repeated_forget_finds_nothing_and_says_so(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.drop(GONE)
    version = shop.forget(GONE)["version"]
    files = shop.files()
    found = shop.forget(GONE, expect=1)
    assert (found["unknown"], found["version"], found["versions"]) == ([GONE], version, [])
    assert "stands nowhere" in capsys.readouterr().err
    assert shop.files() == files


def test_forget_of_known_and_unknown_items_names_the_unknown_and_ends_with_0(shop: Shop) -> None:
    shop.drop(GONE)
    found = shop.forget(GONE, "nobody")
    assert (list(found["items"]), found["unknown"]) == ([GONE], ["nobody"])


def test_forget_leaves_a_version_that_a_reader_holds_and_takes_it_later(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(shop.store)
    older = [v.version for v in list_versions(store)]
    shop.drop(GONE)
    with Hold(store, READERS, older[0]):
        found = shop.forget(GONE, expect=1)
        assert found["items"][GONE]["remains"] == [older[0]]
        assert "leased by 1 reader" in capsys.readouterr().err
        assert latest(store) == found["version"]
    again = shop.forget(GONE)
    assert (again["how"], again["items"][GONE]["deleted"]) == ("unchanged", [older[0]])
    assert _holding(shop, GONE.encode()) == []


def test_forget_within_a_grace_period_says_when_versions_are_due(shop: Shop) -> None:
    older = [v.version for v in list_versions(open_store(shop.store))]
    shop.drop(GONE)
    found = shop.forget(GONE, "--within", "1")
    assert found["items"][GONE]["due"] == older
    due = [v["due"] for v in found["versions"]]
    assert due == sorted(due)
    assert due[0] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    assert shop.forget(GONE)["items"][GONE]["deleted"] == older


def test_forget_refuses_while_the_catalog_holds_the_item(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    files = shop.files()
    assert shop.forget(GONE, expect=2) == {}
    shown = capsys.readouterr().err
    assert "small.csv still holds 1 of the items ('digit-0007' in row 7)" in shown
    assert "--keep-in-catalog" in shown
    assert shop.files() == files
    found = shop.forget(GONE, "--keep-in-catalog")
    assert found["in_catalog"] == [GONE]
    again = shop.run("reindex", *ONE_PROCESS)
    assert (again["how"], again["inferences"]) == ("patched", 1)
    assert shop.run("why", GONE)["status"] == "published"


def test_forget_takes_a_rejected_item_out_of_the_rejects(shop: Shop) -> None:
    assert shop.run("why", DAMAGED)["status"] == "rejected"
    accounts = ExamplesManifest.load(shop.work / "examples").ledger
    shop.drop(DAMAGED)
    found = shop.forget(DAMAGED)
    kept, *files = found["items"][DAMAGED]["files"]
    assert files == ["examples/rejects.parquet", "rejects.parquet"]
    assert re.fullmatch(r"decoded/\w+/examples-0000\d-of-0000\d.tfrecord.parquet", kept)
    after = ExamplesManifest.load(shop.work / "examples").ledger
    assert (after.rejected, after.items_out) == (accounts.rejected - 1, accounts.items_out)
    shop.run("why", DAMAGED, expect=1)
    assert _holding(shop, DAMAGED.encode()) == _tables_with(shop, DAMAGED) == []


@pytest.mark.parametrize(
    "step",
    [
        "pipelines.forget.forget_artefacts",
        "sim_transforms.commands.forget_artefacts.forget_embeddings",
        "sim_transforms.commands.forget_artefacts._forget_rows",
        "pipelines.forget.forget_versions",
        "sim_transforms.commands.forget.remove_version",
    ],
)
def test_forget_that_was_killed_between_its_steps_is_completed_by_the_next(
    shop: Shop, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = _traces(shop, GONE)
    shop.drop(GONE)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(step, killed)
        shop.forget(GONE, expect=130)
    assert shop.run("versions", "verify")["problems"] == []
    assert _holding(shop, traces["indexed"])
    found = shop.forget(GONE)
    assert found["unknown"] == []
    assert _tables_with(shop, GONE) == []
    for name, data in traces.items():
        assert _holding(shop, data) == [], name


def test_forget_removes_what_an_interrupted_upload_and_a_killed_removal_have_left(shop: Shop) -> None:
    older = next(v.version for v in list_versions(open_store(shop.store)))
    versions = shop.work / "store" / "versions"
    (versions / older / "manifest.json").unlink()
    (versions / older / ".tmp-1-index.hnsw").write_bytes(GONE.encode())
    (versions / ("0" * 16)).mkdir()
    (versions / ("0" * 16) / "index.hnsw").write_bytes(b"half of one")
    shop.drop(GONE)
    found = shop.forget(GONE)
    assert {v["version"]: (v["outcome"], v["is_whole"]) for v in found["versions"]}["0" * 16] == ("deleted", False)
    assert _holding(shop, GONE.encode()) == []
    assert [p.name for p in versions.iterdir()] == [found["version"]]


def test_forget_of_all_items_publishes_an_empty_version(shop: Shop) -> None:
    ids = _ids(shop.work / "examples", "offsets.parquet") | {"digit-0003"}
    shop.write(lambda item_id: False)
    found = shop.forget(*sorted(ids))
    assert found["how"] == "rebuilt"
    assert open_version(shop.store).manifest.items == 0
    assert shop.run("versions", "verify")["problems"] == []
    assert places_in_examples(shop.work, ids) == {}
    assert load_embeddings(shop.work / "embeddings").item_ids.tolist() == []
    assert [_holding(shop, i.encode()) + _tables_with(shop, i) for i in sorted(ids)[:5]] == [[]] * 5


def test_forget_removes_the_pages_that_show_an_item_and_no_others(shop: Shop) -> None:
    page = shop.work / "report" / "index.html"
    page.write_text(f"<figcaption>{GONE}</figcaption>")
    shop.drop(GONE)
    assert shop.forget(GONE)["pages_removed"] == ["report"]
    assert not page.exists()
    assert (shop.work / "evaluation").is_dir()


def test_forget_builds_anew_where_a_patch_would_change_too_much(shop: Shop) -> None:
    traces = _traces(shop, GONE)
    shop.drop(GONE)
    found = shop.forget(GONE, "--set", "reindex.rebuild_above=0")
    assert found["how"] == "rebuilt"
    assert None not in checked_page(shop.store).values()
    assert _holding(shop, traces["picture"]) == _holding(shop, traces["id"]) == []
    assert _holding(shop, traces["indexed"]) == _tables_with(shop, GONE) == []
    assert shop.run("versions", "verify")["problems"] == []


def test_forget_that_loses_to_another_publisher_removes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*_: object) -> str:
        raise PublishConflict("LATEST was moved")

    shop.drop(GONE)
    monkeypatch.setattr("pipelines.next_version.publish", lost)
    files = {name: data for name, data in shop.files().items() if name != ".lock"}
    assert shop.forget(GONE, expect=1) == {}
    assert "LATEST was moved" in capsys.readouterr().err
    assert {name: data for name, data in shop.files().items() if name != ".lock"} == files


@pytest.mark.parametrize("hours", ["-1", "nan"])
def test_forget_refuses_a_grace_period_that_is_none(shop: Shop, hours: str) -> None:
    assert shop.forget(GONE, f"--within={hours}", expect=2) == {}
