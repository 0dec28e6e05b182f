"""A second run decodes and analyses what is new, and leaves the same bytes as a first run over everything."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.cli import main
from sim_transforms.commands.forget_artefacts import forget_decoded
from sim_transforms.media.digits import write_digits
from sim_transforms.records.kept import table_beside
from tests.pipelines.small_catalogs import ONE_PROCESS, configuration, ruiji
from tests.pipelines.sound_catalogs import melody, write_sound
from tests.thorough import some

pytestmark = pytest.mark.slow

_LONG_AGO = 1_700_000_000_000_000_000


@dataclass
class Desk:
    """A catalog of files that were changed long ago, and its working directory."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    kind: str = "image"
    shards: int = 2
    said: str = ""

    @property
    def work(self) -> Path:
        """Its working directory."""
        return self.folder / "work"

    def catalog(self, names: list[str], labels: dict[str, str] | None = None) -> None:
        """Writes a catalog of some files of `media/`."""
        rows = [f"{n},{n},{(labels or {}).get(n, n[-5])}" for n in names]
        (self.folder / "media" / "small.csv").write_text("\n".join(["item_id,uri,label", *rows]) + "\n")

    def write(self, name: str, data: bytes, later: int = 0) -> None:
        """Writes a file with a time of its own."""
        path = self.folder / "media" / name
        path.write_bytes(data)
        os.utime(path, ns=(_LONG_AGO + later, _LONG_AGO + later))

    def preprocess(self, *flags: str, work: str = "work", expect: int = 0, **settings: object) -> dict[str, Any]:
        """Runs the command; what it answers."""
        sections: dict[str, object] = {"preprocess": {"shards": self.shards, **settings}}
        if self.kind == "audio":
            sections["media"] = {"kind": "audio", "sample_rate": 8000, "seconds": 1.0, "hop_seconds": 0.5}
        config = configuration(self.folder, self.folder / "media" / "small.csv", **sections)
        flags = (*flags, *ONE_PROCESS, "--json")
        code = main(["preprocess", "--config", str(config), "--workdir", str(self.folder / work), *flags])
        said = self.capsys.readouterr()
        assert code == expect, said.err
        self.said = said.err
        answer: dict[str, Any] = json.loads(said.out.splitlines()[-1]) if not code else {}
        return answer

    def counts(self, *flags: str, **settings: object) -> tuple[int, int, int]:
        """Files decoded, files reused, records analysed."""
        answer = self.preprocess(*flags, **settings)  # type: ignore[arg-type]
        return answer["decoded"], answer["reused"], answer["analyzed"]

    def differs_from_a_first_run(self, **settings: object) -> list[str]:
        """Files of `examples/` that are not, byte for byte, those of a run that knows nothing."""
        shutil.rmtree(self.folder / "anew", ignore_errors=True)
        self.preprocess(work="anew", **settings)  # type: ignore[arg-type]
        one, other = (_bytes(self.folder / name / "examples") for name in ("work", "anew"))
        return [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


def _bytes(examples: Path) -> dict[str, Any]:
    """Files by name."""
    names = [p for p in sorted(examples.rglob("*")) if p.is_file()]
    return {p.relative_to(examples).as_posix(): p.read_bytes() for p in names}


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """60 digits, of which the catalog has 50."""
    write_digits(tmp_path / "media", seed=0)
    for path in (tmp_path / "media").iterdir():
        os.utime(path, ns=(_LONG_AGO, _LONG_AGO))
    made = Desk(tmp_path, capsys)
    made.catalog(_names(50))
    return made


def _names(count: int, first: int = 0) -> list[str]:
    return [f"digit-{number:04d}.png" for number in range(first, first + count)]


def test_second_run_decodes_and_analyses_what_is_new(desk: Desk) -> None:
    assert desk.counts() == (50, 0, 50)
    desk.catalog(_names(53))
    assert desk.counts() == (3, 50, 3)
    assert not desk.differs_from_a_first_run()
    assert desk.counts() == (0, 53, 0)
    assert "unchanged, skipped" in desk.said


def test_removed_changed_and_relabelled_files(desk: Desk) -> None:
    desk.counts()
    names = _names(50)
    desk.write(names[7], (desk.folder / "media" / names[8]).read_bytes(), later=1)
    desk.catalog(names[1:], {names[9]: "other"})
    # One file is decoded; the generation from which records have gone is analysed anew, beside what is new.
    assert desk.counts() == (1, 48, 49)
    assert not desk.differs_from_a_first_run()


@pytest.mark.parametrize(("before", "after"), some([(1, 4), (4, 1), (2, 3)], 1))
def test_another_number_of_shards_decodes_nothing(desk: Desk, before: int, after: int) -> None:
    desk.shards = before
    desk.counts()
    desk.shards = after
    assert desk.counts() == (0, 50, 0)
    assert not desk.differs_from_a_first_run()
    kept = [p.name for p in (desk.work / "decoded").glob("*/*.tfrecord")]
    assert len(kept) == after
    assert all(f"-of-{after:05d}" in name for name in kept)


def test_other_media_settings_decode_everything_and_leave_nothing_of_before(desk: Desk) -> None:
    desk.counts()
    other = configuration(desk.folder, desk.folder / "media" / "small.csv", media={"kind": "image", "height": 8})
    ruiji("preprocess", "--config", str(other), "--workdir", str(desk.work), *ONE_PROCESS)
    assert len(list((desk.work / "decoded").iterdir())) == 1


def test_vocabulary_of_frequent_labels_is_that_of_all_generations(desk: Desk) -> None:
    desk.catalog(_names(6), dict.fromkeys(_names(6), "rare"))
    desk.counts(min_examples_per_class=8)
    desk.catalog(_names(9), dict.fromkeys(_names(9), "rare"))
    assert desk.counts(min_examples_per_class=8) == (3, 6, 3)
    assert not desk.differs_from_a_first_run(min_examples_per_class=8)
    labels = next((desk.work / "examples" / "transform").rglob("assets/labels")).read_text()
    assert labels.split() == ["rare"]


def test_rejected_files_are_tried_again_when_they_change_or_when_asked_for(desk: Desk) -> None:
    desk.write("broken.png", b"no picture")
    desk.catalog([*_names(50), "broken.png"])
    assert desk.counts() == (51, 0, 50)
    desk.catalog([*_names(51), "broken.png"])
    assert desk.counts() == (1, 51, 1)
    assert desk.counts("--retry-rejects") == (1, 51, 0)
    rejects = pq.read_table(desk.work / "rejects.parquet").to_pylist()
    assert [(row["item_id"], row["reason"], row["stage"]) for row in rejects] == [
        ("broken.png", "not_an_image", "preprocess")
    ]
    good = (desk.folder / "media" / "digit-0052.png").read_bytes()
    desk.write("broken.png", good, later=1)
    assert desk.counts() == (1, 51, 1)
    assert not desk.differs_from_a_first_run()


def test_missing_files_are_looked_for_again_by_every_run(desk: Desk) -> None:
    desk.catalog([*_names(50), "late.png"])
    desk.counts()
    desk.catalog([*_names(51), "late.png"])
    assert desk.counts() == (1, 50, 1)
    desk.write("late.png", (desk.folder / "media" / "digit-0052.png").read_bytes())
    assert desk.counts() == (1, 51, 1)


def test_run_that_fails_for_its_rejects_keeps_what_it_has_decoded(desk: Desk) -> None:
    desk.write("broken.png", b"no picture")
    desk.catalog([*_names(50), "broken.png"])
    desk.preprocess(expect=1, max_reject_share=0.001)
    assert not (desk.work / "examples").exists()
    desk.write("broken.png", (desk.folder / "media" / "digit-0052.png").read_bytes(), later=1)
    assert desk.counts(max_reject_share=0.001) == (1, 50, 51)
    assert not desk.differs_from_a_first_run(max_reject_share=0.001)


def test_damaged_records_are_decoded_again(desk: Desk) -> None:
    desk.counts()
    kept = sorted((desk.work / "decoded").glob("*/*.tfrecord"))[0]
    content = bytearray(kept.read_bytes())
    content[200] ^= 1
    kept.unlink()  # `examples/` has the same file
    kept.write_bytes(content)
    desk.catalog(_names(51))
    decoded, reused, _ = desk.counts()
    assert decoded + reused == 51
    assert decoded > 20
    assert not desk.differs_from_a_first_run()


def test_lost_tables_and_lost_analyses_are_made_anew(desk: Desk) -> None:
    desk.counts()
    sorted((desk.work / "decoded").glob("*/*.parquet"))[0].unlink()
    desk.catalog(_names(51))
    decoded, reused, _ = desk.counts()
    assert decoded + reused == 51
    assert 20 < decoded < 40
    shutil.rmtree(next((desk.work / "decoded").glob("*/analysis-*")))
    desk.catalog(_names(52))
    assert desk.counts() == (1, 51, 52)
    assert not desk.differs_from_a_first_run()


def test_file_that_was_changed_a_moment_ago_is_decoded_again(desk: Desk) -> None:
    name = _names(1)[0]
    (desk.folder / "media" / name).touch()
    ahead = 4 * 10**18  # it may be changed again within what its time can tell
    os.utime(desk.folder / "media" / name, ns=(ahead, ahead))
    desk.counts()
    desk.catalog(_names(51))
    assert desk.counts()[:2] == (2, 49)


def test_share_of_the_items_is_analysed_alike(desk: Desk) -> None:
    desk.counts(analyze_share=0.5)
    desk.catalog(_names(55))
    desk.counts(analyze_share=0.5)
    assert not desk.differs_from_a_first_run(analyze_share=0.5)


def test_clips_of_sounds_are_taken_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "media").mkdir()
    names = [f"sound-{number:02d}.wav" for number in range(12)]
    for number, name in enumerate(names):
        write_sound(tmp_path / "media" / name, melody(number, 3.0, 200.0 + 20 * number))
        os.utime(tmp_path / "media" / name, ns=(_LONG_AGO, _LONG_AGO))
    desk = Desk(tmp_path, capsys, kind="audio")
    desk.catalog(names[:10])
    decoded, reused, first = desk.counts()
    assert (decoded, reused) == (10, 0)
    assert first > 10
    desk.catalog(names)
    decoded, reused, analysed = desk.counts()
    assert (decoded, reused) == (2, 10)
    assert 2 <= analysed < first
    assert not desk.differs_from_a_first_run()


def test_drift_from_the_model_in_use_is_told_and_held_to_its_bound(desk: Desk) -> None:
    config = configuration(desk.folder, desk.folder / "media" / "small.csv")
    ruiji("run", "--config", str(config), "--workdir", str(desk.work), *ONE_PROCESS)
    version = (desk.work / "store" / "LATEST").read_text().strip()
    desk.catalog([name for name in _names(60) if name[-5] in "01234"], dict.fromkeys(_names(60)[::2], "new"))
    found = desk.preprocess()["drift"]
    assert found["version"] == version
    assert 0.5 < found["labels"] < 1.0
    assert 0.0 < found["mean"] < 0.5
    before = (desk.work / "examples" / "manifest.json").read_bytes()
    desk.catalog([name for name in _names(60) if name[-5] in "012"], dict.fromkeys(_names(60)[::2], "new"))
    desk.preprocess(expect=1, max_drift=0.4)
    assert "above preprocess.max_drift 0.4" in desk.said
    assert (desk.work / "examples" / "manifest.json").read_bytes() == before
    assert desk.preprocess(max_drift=2.0)["decoded"] == 0


def test_refused_runs_cost_nothing_of_what_is_kept(desk: Desk) -> None:
    desk.write("broken.png", b"no picture")
    desk.catalog([*_names(50), "broken.png"])
    desk.counts()
    (desk.folder / "media").rename(desk.folder / "away")
    (desk.folder / "media").mkdir()
    desk.catalog([*_names(50), "broken.png"])
    desk.preprocess(expect=1)
    assert len(pq.read_table(desk.work / "rejects.parquet")) == 51
    (desk.folder / "media" / "small.csv").unlink()
    (desk.folder / "media").rmdir()
    (desk.folder / "away").rename(desk.folder / "media")
    desk.catalog([*_names(50), "broken.png"])
    assert desk.counts() == (0, 51, 0)
    assert pq.read_table(desk.work / "rejects.parquet").column("item_id").to_pylist() == ["broken.png"]
    desk.catalog([*_names(51), "broken.png"])
    assert desk.counts() == (1, 51, 1)
    assert not desk.differs_from_a_first_run()
    assert not list((desk.work / "decoded").rglob("pending"))


def test_compressed_records_are_taken_up_and_train_the_same_model(desk: Desk) -> None:
    config = configuration(desk.folder, desk.folder / "media" / "small.csv")
    vectors = {}
    for compression in ("none", "gzip"):
        flags = (f"preprocess.compression={compression}",)
        ruiji("run", "--config", str(config), "--workdir", str(desk.work), "--set", *flags, *ONE_PROCESS)
        vectors[compression] = _bytes(desk.work / "embeddings")
    assert {p.suffix for p in (desk.work / "examples").glob("examples-*")} == {".gz"}
    assert not list((desk.work / "decoded").glob("*/*.tfrecord"))
    tables = [name for name in vectors["none"] if name.endswith(".parquet")]
    assert tables
    assert all(vectors["none"][name] == vectors["gzip"][name] for name in tables)
    desk.catalog(_names(53))
    assert desk.counts(compression="gzip") == (3, 50, 3)
    assert not desk.differs_from_a_first_run(compression="gzip")


def test_tables_that_cannot_be_read_are_made_anew(desk: Desk) -> None:
    desk.counts()
    for table in (desk.work / "decoded").glob("*/*.parquet"):
        table.write_bytes(b"PAR1 cut short")
    desk.catalog(_names(51))
    assert desk.counts()[:2] == (51, 0)
    assert not desk.differs_from_a_first_run()


def test_forget_takes_items_out_of_what_is_kept_for_any_settings(desk: Desk) -> None:
    desk.counts()
    fit = {"kind": "image", "height": 16, "width": 16, "resize": "fit"}
    config = configuration(
        desk.folder, desk.folder / "media" / "small.csv", media=fit, preprocess={"max_reject_share": 0.001}
    )
    desk.write("broken.png", b"no picture")
    desk.catalog([*_names(50), "broken.png"])
    ruiji("preprocess", "--config", str(config), "--workdir", str(desk.work), *ONE_PROCESS, expect=1)
    keys = sorted((desk.work / "decoded").iterdir())
    assert len(keys) == 2
    stray = keys[0] / ".tmp-1-examples-00000-of-00002.tfrecord.parquet"
    stray.write_bytes(b"half")
    records = {path: path.read_bytes() for path in (desk.work / "decoded").rglob("*.tfrecord")}
    name = _names(1)[0]
    found = forget_decoded(desk.work, [name])
    assert len(found[name]) == 4
    assert not stray.exists()
    assert not list((desk.work / "decoded").glob("*/analysis-*/*"))
    for path, before in records.items():
        table = pq.read_table(table_beside(path)).to_pylist()
        assert name not in [row["item_id"] for row in table]
        content = path.read_bytes()
        assert name.encode() not in content
        # What is left are this folder's own records.
        assert all(content[row["offset"] :][: row["length"]] in before for row in table)
        assert sum(row["length"] for row in table) == len(content)
    desk.catalog(_names(51))
    assert desk.counts()[:2] == (2, 49)
    assert not desk.differs_from_a_first_run()
