"""The whole job on a small real catalog: results, skipping, the same bytes on one and two processes."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sim_transforms.hnsw.native import nmslib
from sim_transforms.lookup.open import open_version
from tests.pipelines.small_catalogs import (
    ONE_PROCESS,
    configuration,
    digits_catalog,
    published_bytes,
    ruiji,
    ruiji_alone,
)

pytestmark = pytest.mark.slow

ITEMS = 150


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, object]]:
    """(configuration, working directory, summary) of one run in one process."""
    folder = tmp_path_factory.mktemp("run")
    config = configuration(folder, digits_catalog(folder / "media", ITEMS))
    shown = ruiji_alone("run", "--config", str(config), "--workdir", str(folder / "work"), "--json", *ONE_PROCESS)
    # Nothing else stands there, of no library either.
    return config, folder / "work", json.loads(shown)


def test_run_small_catalog_summary_accounts_for_every_item(finished) -> None:
    _, _, summary = finished
    assert (summary["items"], summary["accepted"], summary["rejected"], summary["skipped"]) == (ITEMS, ITEMS, 0, 0)
    assert summary["inferences"] == ITEMS
    assert summary["recall_at_10"] >= 0.9


def test_run_second_time_does_no_stage(finished) -> None:
    config, work, summary = finished
    done = ruiji("run", "--config", str(config), "--workdir", str(work), "--json")
    assert json.loads(done.stdout)["version"] == summary["version"]
    assert done.stderr.count("unchanged, skipped") == 6
    assert "started" not in done.stderr


def test_run_published_version_verifies(finished) -> None:
    _, work, summary = finished
    shown = json.loads(ruiji("versions", "verify", "--store", str(work / "store"), "--json").stdout)
    assert shown == {"version": summary["version"], "problems": []}


def test_run_index_opened_by_stock_nmslib_answers_as_search_does(finished) -> None:
    _, work, _ = finished
    opened = open_version(str(work / "store"))
    index = nmslib.init(method="hnsw", space="l2")
    index.loadIndex(str(opened.folder / "index.hnsw"), load_data=False)
    index.setQueryTimeParams({"efSearch": opened.manifest.ef_search})
    query = opened.vector_of("digit-0003")
    rows, distances = index.knnQuery(query, k=5)
    matches = opened.search(query[None], 5)[0]
    assert [opened.items.column("item_id")[int(r)].as_py() for r in rows] == [m.item_id for m in matches]
    np.testing.assert_allclose(distances / 2, [m.distance for m in matches], atol=1e-6)


def test_run_metadata_of_the_catalog_is_carried_to_matches(finished) -> None:
    _, work, _ = finished
    found = json.loads(
        ruiji("search", "--store", str(work / "store"), "--item", "digit-0003", "--k", "1", "--json").stdout
    )
    (match,) = found["matches"]
    assert match["metadata"]["place"] == int(match["item_id"].removeprefix("digit-"))


def test_search_media_of_an_indexed_item_finds_it_at_distance_zero(finished) -> None:
    config, work, _ = finished
    media = config.parent / "media" / "digit-0005.png"
    done = ruiji("search", "--config", str(config), "--workdir", str(work), "--media", str(media), "--k", "3", "--json")
    first = json.loads(done.stdout.splitlines()[-1])["matches"][0]
    assert (first["item_id"], first["distance"]) == ("digit-0005", 0.0)


def test_index_from_the_artefacts_of_another_run_publishes_the_same_bytes(finished, tmp_path: Path) -> None:
    config, work, _ = finished
    artefacts = ("--examples", str(work / "examples"), "--model", str(work / "model"))
    ruiji("index", "--config", str(config), "--workdir", str(tmp_path / "work"), *artefacts, *ONE_PROCESS)
    assert published_bytes(work / "store") == published_bytes(tmp_path / "work" / "store")


def test_run_report_is_one_page_without_outside_requests(finished) -> None:
    _, work, _ = finished
    page = (work / "report" / "index.html").read_text()
    assert "data:image/png;base64," in page
    assert "http://" not in page
    assert "https://" not in page
    assert 'href="media.html"' in page


def test_run_writes_the_page_about_media_beside_the_report(finished) -> None:
    _, work, _ = finished
    page = (work / "report" / "media.html").read_text()
    assert 'href="index.html"' in page
    assert "Class balance" in page
    assert "http" not in page
    files = json.loads((work / "report" / "manifest.json").read_text())["files"]
    assert [f["name"] for f in files] == ["index.html", "media.html"]


def test_evaluate_prints_known_and_raw(finished) -> None:
    config, work, _ = finished
    shown = json.loads(ruiji("evaluate", "--config", str(config), "--workdir", str(work), "--json").stdout)
    assert shown["known"]["queries"] > 0
    assert set(shown["raw"]) == {"known", "unseen"}
    low, high = shown["intervals"]["known"]["precision_at_1"]
    assert low <= shown["known"]["precision_at_1"] <= high
    assert shown["open_set"]["known"]["queries"] > 0
    assert 0.0 <= shown["clusters"]["known"]["nmi"] <= 1.0
    classes = pq.read_table(work / "evaluation" / "classes.parquet").to_pylist()
    assert classes[:100] == shown["classes"]
    assert sum(each["queries"] for each in classes) == shown["known"]["queries"] + shown["unseen"].get("queries", 0)


def test_run_examples_offsets_name_every_item(finished) -> None:
    _, work, _ = finished
    assert len(set(pq.read_table(work / "examples" / "offsets.parquet").column("item_id").to_pylist())) == ITEMS
