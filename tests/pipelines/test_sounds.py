"""A catalog of sounds through its life: run, searched, changed, reindexed, compared, shown, forgotten."""

import contextlib
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms.commands.artefacts import load_embeddings
from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.records.manifests import ExamplesManifest
from sim_transforms.records.media import Clips
from sim_transforms.runs.folders import is_whole
from sim_transforms.storage.open import open_store
from sim_transforms.storage.versions import list_versions
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration
from tests.pipelines.sound_catalogs import CLASSES, RATE, melody, sounds_catalog, write_rows, write_sound
from tests.pipelines.version_pages import checked_page

pytestmark = pytest.mark.slow

SOUNDS, GONE = 12, "tune-02"
# Sounds of n whole seconds have n - 1 clips of two seconds, one a second; GAP lacks two that are silent, STILL all.
GAP, STILL = "gap", "still"
TRAIN = {"epochs": 1, "steps_per_epoch": 5, "classes_per_batch": 3, "examples_per_class": 4}
MEDIA = {"kind": "audio", "sample_rate": RATE, "seconds": 2.0, "hop_seconds": 1.0}


@dataclass
class Shop:
    """A catalog of sounds that changes, its configuration and its store."""

    folder: Path
    rows: list[dict[str, str]]

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def media(self) -> Path:
        return self.folder / "media"

    def configure(self) -> None:
        """Writes the catalog and its configuration."""
        write_rows(self.media / "sounds.csv", self.rows)
        limits = {"preprocess": {"max_reject_share": 0.2}, "reindex": {"rebuild_above": 0.9}}
        limits |= {"index": {"page_items": 1000}}
        configuration(self.folder, self.media / "sounds.csv", media=MEDIA, train=TRAIN, **limits)

    def run(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Runs a command in this process; its JSON, empty where it printed none."""
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            where = ["--config", str(self.folder / "small.yaml"), "--workdir", str(self.work)]
            assert main([*arguments, *where, "--json"]) == expect, shown.getvalue()
        lines = shown.getvalue().splitlines()
        return json.loads(lines[-1]) if lines else {}

    def change(self) -> None:
        """Removes a sound, changes one (8 to 4 seconds), labels one anew, adds one (6 seconds)."""
        self.rows = [{**row} for row in self.rows if row["item_id"] != GONE]
        write_sound(self.media / "tune-05.wav", melody(500, 4.0, CLASSES["high"]))
        next(row for row in self.rows if row["item_id"] == "tune-07").update(label="low", place="700")
        write_sound(self.media / "new.wav", melody(600, 6.0, CLASSES["middle"]))
        self.rows.append(_row("new", "middle", "50"))
        self.configure()

    def opened(self) -> OpenVersion:
        return open_version(str(self.work / "store"))

    def clips(self) -> dict[str, list[float]]:
        """Starts of the clips of each sound that is published."""
        found: dict[str, list[float]] = {}
        for row in self.opened().items.to_pylist():
            assert row["item_id"] == f"{row['source_id']}#{row['start']:g}"
            found.setdefault(row["source_id"], []).append(row["start"])
        return {sound: sorted(starts) for sound, starts in found.items()}


def _row(name: str, label: str, place: str) -> dict[str, str]:
    return {"item_id": name, "uri": f"{name}.wav", "label": label, "split": "train", "place": place}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Twelve sounds, one with a silent middle, and one that is silent throughout; what `run` said is in run.json."""
    folder = tmp_path_factory.mktemp("sounds")
    shop = Shop(folder, sounds_catalog(folder / "media", SOUNDS))
    gap = melody(99, 8.0, CLASSES["middle"])
    gap[3 * RATE : 6 * RATE] = 0
    write_sound(shop.media / f"{GAP}.wav", gap)
    write_sound(shop.media / f"{STILL}.wav", np.zeros(4 * RATE, np.float32))
    shop.rows += [_row(GAP, "middle", "90"), _row(STILL, "low", "91")]
    shop.configure()
    (folder / "run.json").write_text(json.dumps(shop.run("run", *ONE_PROCESS)))
    return shop


@pytest.fixture
def shop(published: Shop, tmp_path: Path) -> Shop:
    """A copy that a test may change."""
    for name in ("media", "work"):
        shutil.copytree(published.folder / name, tmp_path / name)
    copy = Shop(tmp_path, published.rows)
    copy.configure()
    return copy


def _expected() -> dict[str, list[float]]:
    whole = {f"tune-{n:02d}": [float(start) for start in range(2 + n % 6)] for n in range(SOUNDS)}
    return {**whole, GAP: [0.0, 1.0, 2.0, 5.0, 6.0]}


def test_run_counts_sounds_and_beside_them_clips(published: Shop) -> None:
    found = json.loads((published.folder / "run.json").read_text())
    clips = sum(len(starts) for starts in _expected().values())
    assert (found["items"], found["accepted"], found["rejected"], found["skipped"]) == (14, 13, 1, 0)
    assert (found["clips"], found["inferences"]) == (clips, clips)
    assert published.clips() == _expected()
    assert published.opened().manifest.clips == Clips(2.0, 1.0)
    assert None not in checked_page(str(published.work / "store")).values()


def test_evaluation_compares_raw_spectra_and_report_shows_clips(published: Shop) -> None:
    evaluation = json.loads((published.work / "evaluation" / "evaluation.json").read_text())
    assert evaluation["raw_kind"] == "spectrum"
    assert evaluation["known"]["queries"] == evaluation["raw"]["known"]["queries"] == 15
    page = (published.work / "report" / "index.html").read_text()
    assert "raw spectrum" in page
    assert "raw pixels" not in page
    assert "of 14 sounds in the catalog" in page
    assert "of 15 test clips" in page
    shown = re.findall(r'<img src="data:image/png[^>]* alt="([^,"]*)', page)
    assert {"tune-03#0", "tune-07#0"} <= set(shown)
    rows = re.findall(r'aria-label="neighbours of ([^"]*)#[^"]*">(.*?)</div>\s*\n(?=<div|</section)', page, re.DOTALL)
    assert rows
    for sound, row in rows:
        assert [name.partition("#")[0] for name in re.findall(r"<br>([^<]*)<", row)].count(sound) == 1


def test_why_tells_a_sound_its_clips_and_what_is_silent(published: Shop) -> None:
    found = published.run("why", "tune-03")
    assert (found["status"], found["sound"], found["published"]["clips"], found["catalog_row"]) == (
        "published", "tune-03", 5, 4,
    )  # fmt: skip
    assert [clip["start"] for clip in found["clips"]] == [0.0, 1.0, 2.0, 3.0, 4.0]
    silent = [clip["item_id"] for clip in published.run("why", GAP)["clips"] if clip["row"] is None]
    assert silent == [f"{GAP}#3", f"{GAP}#4"]
    assert published.run("why", f"{GAP}#3")["status"] == "silent"
    clip = published.run("why", f"{GAP}#5")
    assert (clip["status"], clip["sound"], clip["published"]["clips"], len(clip["clips"])) == ("published", GAP, 0, 1)
    assert clip["examples"] is not None
    rejected = published.run("why", STILL)
    assert (rejected["status"], rejected["rejected"][0]["reason"]) == ("rejected", "silent")
    unknown = published.run("why", f"{GAP}#99", expect=1)
    assert unknown["status"] == "unknown"
    assert f"{GAP}#5" in unknown["nearest"]


def test_reindex_of_unchanged_sounds_reads_and_embeds_nothing(shop: Shop) -> None:
    first = shop.run("reindex", *ONE_PROCESS)
    assert (first["version"], first["inferences"], first["skipped"], first["accepted"]) == (None, 0, 13, 13)
    assert first["files_read"] == 13
    again = shop.run("reindex", *ONE_PROCESS)
    assert (again["version"], again["files_read"], again["rejected"]) == (None, 0, 1)


@pytest.mark.parametrize("above", ["0.9", "0"])
def test_reindex_changes_whole_sounds_and_keeps_their_clips_together(shop: Shop, above: str, tmp_path: Path) -> None:
    before, shown = shop.opened(), checked_page(str(shop.work / "store"))
    shop.change()
    found = shop.run("reindex", "--set", f"reindex.rebuild_above={above}", *ONE_PROCESS)
    assert found["how"] == ("patched" if above == "0.9" else "rebuilt")
    assert (found["added"], found["changed"], found["removed"], found["metadata_changed"]) == (1, 1, 1, 1)
    assert (found["items"], found["accepted"], found["rejected"], found["skipped"]) == (14, 13, 1, 11)
    assert found["inferences"] == 3 + 5
    expected = {**_expected(), "tune-05": [0.0, 1.0, 2.0], "new": [0.0, 1.0, 2.0, 3.0, 4.0]}
    del expected[GONE]
    assert shop.clips() == expected
    assert found["clips"] == sum(len(starts) for starts in expected.values())
    after = shop.opened()
    assert after.manifest.clips == before.manifest.clips
    assert after.manifest.metadata_columns == before.manifest.metadata_columns
    relabelled = {(r["label"], r["place"]) for r in after.items.to_pylist() if r["source_id"] == "tune-07"}
    assert relabelled == {("low", 700)}
    np.testing.assert_allclose(after.vector_of("tune-07#2"), before.vector_of("tune-07#2"), atol=1e-6)
    assert np.abs(after.vector_of("tune-05#1") - before.vector_of("tune-05#1")).max() > 1e-3
    assert shop.run("versions", "verify")["problems"] == []
    pictures = checked_page(str(shop.work / "store"))
    assert None not in pictures.values()
    assert pictures["tune-05#1"] != shown["tune-05#1"]
    assert pictures["tune-07#2"] == shown["tune-07#2"]
    assert shop.run("reindex", "--set", f"reindex.rebuild_above={above}", *ONE_PROCESS)["version"] is None
    _check_what_is_said_of(shop, before.version, tmp_path)


def _check_what_is_said_of(shop: Shop, before: str, tmp_path: Path) -> None:
    """Diff, report, why and search after the change."""
    diff = shop.run("versions", "diff", before, "--page", str(tmp_path / "diff"))
    kinds = {kind: diff[kind]["items"] for kind in ("added", "removed", "changed")}
    assert kinds == {"added": ["new"], "removed": [GONE], "changed": ["tune-05"]}
    assert (diff["before"]["items"], diff["before"]["clips"], diff["compared_by"]) == (13, 59, "digest")
    for query in diff["queries"]["most_changed"]:
        assert query["item_id"].partition("#")[0] not in {*query["before"], *query["after"]}
        assert len(set(query["after"])) == len(query["after"])
    page = (tmp_path / "diff" / "index.html").read_text()
    assert "<dt>Sounds</dt>" in page
    assert "no picture" not in page
    shop.run("report", "--output", str(tmp_path / "report"))
    page = (tmp_path / "report" / "index.html").read_text()
    assert GONE not in page
    assert "<img" in page
    changed = shop.run("why", "tune-05")
    assert [clip["row"] is None for clip in changed["clips"]] == [False] * 3
    assert [place["clips"] for place in changed["older"]] == [7]
    found = shop.run("search", "--media", str(shop.media / "new.wav"), "--k", "3")["matches"]
    assert (found[0]["item_id"], found[0]["offset"]) == ("new", 0.0)
    assert found[0]["distance"] < 1e-3
    matches = shop.run("search", "--item", "new", "--k", "13")["matches"]
    assert GONE not in {match["item_id"] for match in matches}
    assert "new" not in {match["item_id"] for match in matches}


def test_duplicates_of_clips_are_of_other_sounds(shop: Shop, tmp_path: Path) -> None:
    opened = shop.opened()
    sounds = opened.items.column("source_id").to_pylist()
    vectors = opened.vectors_at(opened.items.column("row").to_numpy())
    apart = 1 - vectors @ vectors.T + 9 * np.equal.outer(sounds, sounds)
    bound = float(np.sort(apart, axis=None)[20])
    told = shop.run("duplicates", "--max-distance", str(bound), "--k", "40", "--output", str(tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / "duplicates.parquet").to_pylist()
    near = {opened.items.column("item_id")[place].as_py() for place in np.flatnonzero((apart <= bound).any(axis=1))}
    assert {row["item_id"] for row in rows} == near
    assert len(near) == told["grouped"] < len(sounds)
    for group in {row["group"] for row in rows}:
        assert len({row["source_id"] for row in rows if row["group"] == group}) > 1


def test_search_of_a_routed_version_with_bounded_memory_finds_the_same_sounds(shop: Shop) -> None:
    expected = [match["item_id"] for match in shop.run("search", "--item", "tune-05", "--k", "5")["matches"]]
    found = shop.run("reindex", "--set", "index.layout=routed", "--set", "search.probe=99", *ONE_PROCESS)
    assert (found["how"], found["inferences"]) == ("rebuilt", 0)
    assert shop.opened().manifest.layout_is_routed
    bounded = shop.run("search", "--item", "tune-05", "--k", "5", "--memory-budget-mib", "1")["matches"]
    assert [match["item_id"] for match in bounded] == expected
    assert shop.run("search", "--item", "tune-05#3", "--memory-budget-mib", "1")["matches"]


def test_reindex_with_other_clips_is_refused(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.run("reindex", "--set", "media.hop_seconds=0.5", *ONE_PROCESS, expect=1)
    shown = capsys.readouterr().err
    assert "media cuts clips of 2 s, one every 0.5 s" in shown
    assert "was trained on clips of 2 s, one every 1 s" in shown


def _holding(shop: Shop, sound: str) -> list[str]:
    """Files of the working directory that hold a sound, or a clip of it, in their bytes or their tables."""
    named = re.compile(rb"\b" + sound.encode() + rb"\b")
    found = [p for p in sorted(shop.work.rglob("*")) if p.is_file() and named.search(p.read_bytes())]
    for path in sorted(shop.work.rglob("*.parquet")):
        table = pq.read_table(path)
        columns = [table.column(name).to_pylist() for name in ("item_id", "source_id") if name in table.schema.names]
        if any(str(value).partition("#")[0] == sound for values in columns for value in values):
            found.append(path)
    return sorted({path.relative_to(shop.work).as_posix() for path in found})


def test_forget_takes_all_clips_of_a_sound_from_everywhere(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = [shop.opened().vector_of(f"{GONE}#{start}").tobytes() for start in range(4)]
    shop.run("reindex", *ONE_PROCESS)
    shop.rows = [row for row in shop.rows if row["item_id"] not in (GONE, STILL)]
    shop.configure()
    held = _holding(shop, GONE)
    rooms = {"decoded", "embeddings", "examples", "report", "sources", "store"}
    assert {name.partition("/")[0] for name in held} == rooms
    assert "examples/media.parquet" in held
    shop.run("forget", f"{GONE}#1", *ONE_PROCESS, expect=2)
    assert f"is a clip of the sound {GONE!r}" in capsys.readouterr().err
    found = shop.run("forget", GONE, STILL, *ONE_PROCESS)
    assert (found["how"], found["unknown"]) == ("patched", [])
    assert len(found["items"][GONE]["index"]["rows"]) == 4
    assert _holding(shop, GONE) == _holding(shop, STILL) == []
    index = next((shop.work / "store" / "versions").glob("*/index.hnsw")).read_bytes()
    assert not any(vector in index for vector in vectors)
    assert [v.version for v in list_versions(open_store(str(shop.work / "store")))] == [found["version"]]
    assert shop.run("versions", "verify")["problems"] == []
    expected = _expected()
    del expected[GONE]
    assert shop.clips() == expected
    assert shop.opened().manifest.clips == Clips(2.0, 1.0)
    _check_accounts(shop, sounds=12, clips=55)
    assert shop.run("reindex", *ONE_PROCESS)["how"] == "unchanged"


def _check_accounts(shop: Shop, sounds: int, clips: int) -> None:
    """The artefacts are whole and say what they hold."""
    examples = shop.work / "examples"
    assert is_whole(examples)
    assert is_whole(shop.work / "embeddings")
    manifest = ExamplesManifest.load(examples)
    assert (manifest.items, manifest.ledger.items_in, manifest.ledger.items_out, manifest.ledger.rejected) == (
        clips, sounds, sounds, 0,
    )  # fmt: skip
    statistics = json.loads((examples / "statistics.json").read_text())
    assert (statistics["files"], statistics["items"]) == (sounds, clips)
    assert sum(n for counts in statistics["labels"].values() for n in counts.values()) == clips
    ledger = [entry for entry in json.loads((examples / "ledger.json").read_text()) if entry["stage"] == "clips"]
    assert (sum(e["items_out"] for e in ledger), sum(e["skipped"] for e in ledger)) == (clips, 2)
    assert pq.read_table(examples / "media.parquet").num_rows == sounds
    assert len(load_embeddings(shop.work / "embeddings").item_ids) == clips
