"""`ruiji versions diff` counts what came, went and changed, and shows whose neighbours did."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from pipelines.cli import main
from sim_transforms.commands.diff import diff, diff_text
from sim_transforms.commands.thumbnails import thumbnails
from sim_transforms.errors import NotFound
from sim_transforms.media.sound import sound_shape
from sim_transforms.records.media import Clips, MediaShape
from sim_transforms.report.changes import QueryChange, VersionDiff
from sim_transforms.report.diff_page import write_diff_page
from sim_transforms.settings.stages import SoundSettings
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, publish
from tests.unit.storage.published import routed_folder, some_vectors, version_folder


def _exact(vectors: np.ndarray, query: int, k: int = 10) -> list[str]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.argsort(1 - unit @ unit[query], kind="stable")
    return [f"item-{i}" for i in order if i != query][:k]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str, np.ndarray, np.ndarray]:
    """(store, before, after, vectors before, vectors after): item-3 moved, item-60 to item-64 added."""
    folder = tmp_path_factory.mktemp("diff")
    store = LocalStore(str(folder / "store"))
    old, new = some_vectors(), np.concatenate([some_vectors(), some_vectors(7, 5)])
    new[3] = -new[3]
    before = publish(store, folder / "old", version_folder(folder / "old", old))
    after = publish(store, folder / "new", version_folder(folder / "new", new, before))
    return store.url, before, after, old, new


def test_diff_counts_items_by_their_vectors(two) -> None:
    url, before, after, _, _ = two
    found = diff(url, before, after)
    assert found.added == tuple(f"item-{i}" for i in range(60, 65))
    assert found.removed == ()
    assert found.changed == ("item-3",)
    assert found.compared_by == "vectors"
    assert (found.items_before, found.items_after, found.sampled) == (60, 65, 60)


def test_diff_backwards_swaps_added_and_removed(two) -> None:
    url, before, after, _, _ = two
    found = diff(url, after, before)
    assert (found.added, found.changed) == ((), ("item-3",))
    assert found.removed == tuple(f"item-{i}" for i in range(60, 65))


def test_diff_neighbours_are_the_exact_ones_and_the_most_changed_first(two) -> None:
    url, before, after, old, new = two
    found = diff(url, before, after)
    for query in found.most_changed:
        row = int(query.item_id.removeprefix("item-"))
        assert set(query.before) == set(_exact(old, row))
        assert set(query.after) == set(_exact(new, row))
    assert found.most_changed[0].item_id == "item-3"
    lost = [query.lost for query in found.most_changed]
    assert lost == sorted(lost, reverse=True)
    expected = [len(set(_exact(old, i)) & set(_exact(new, i))) / 10 for i in range(60)]
    assert found.differing == sum(share < 1 for share in expected)
    assert found.mean_kept == pytest.approx(np.mean(expected))


def test_diff_with_itself_is_empty(two) -> None:
    found = diff(two[0], two[1], two[1])
    assert (found.added, found.removed, found.changed, found.most_changed, found.mean_kept) == ((), (), (), (), 1.0)


def test_diff_sample_is_bounded_and_seeded(two) -> None:
    url, before, after, _, _ = two
    assert diff(url, before, after, queries=20, seed=1) == diff(url, before, after, queries=20, seed=1)
    assert diff(url, before, after, queries=20).sampled == 20
    assert diff(url, before, after, queries=0).most_changed == ()


def test_diff_by_digest_where_both_have_one(two, tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "store"))
    versions, parent = [], None
    for name, changed in (("old", None), ("new", 11)):
        manifest = version_folder(tmp_path / name, some_vectors(), parent)
        table = pq.read_table(tmp_path / name / "items.parquet")
        ids = table.column("item_id").to_pylist()
        digests = [None if i == "item-5" else f"{i}{'*' if i == f'item-{changed}' else ''}" for i in ids]
        pq.write_table(table.append_column("digest", pa.array(digests)), tmp_path / name / "items.parquet")
        manifest = replace(manifest, files=(file_entry(tmp_path / name, "items.parquet"),), catalog=name)
        parent = publish(store, tmp_path / name, manifest)
        versions.append(parent)
    found = diff(store.url, *versions)
    assert (found.compared_by, found.changed) == ("digest", ("item-11",))
    assert found.most_changed == ()


def test_diff_of_a_merged_and_a_routed_version_compares_their_vectors(tmp_path: Path) -> None:
    store, vectors = LocalStore(str(tmp_path / "store")), some_vectors()
    merged = publish(store, tmp_path / "merged", version_folder(tmp_path / "merged", vectors))
    moved = vectors.copy()
    moved[8] *= [-1, 1, 1, 1, 1, 1, 1, 1]
    manifest = replace(routed_folder(tmp_path / "routed", moved, probe=9), parent=merged)
    routed = publish(store, tmp_path / "routed", manifest)
    assert diff(store.url, merged, routed).changed == ("item-8",)


def test_diff_command_answers_as_text_json_and_page(two, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, before, after, _, _ = two
    assert main(["versions", "diff", before, "--store", url, "--json", "--limit", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["after"] == {"version": after, "items": 65}
    assert answer["added"] == {"count": 5, "items": ["item-60", "item-61"]}
    assert answer["queries"]["most_changed"][0]["item_id"] == "item-3"
    assert main(["versions", "diff", before, after, "--store", url, "--page", str(tmp_path / "page")]) == 0
    shown = capsys.readouterr().out
    assert "60 -> 65: 5 added, 0 removed, 1 changed (by vectors)" in shown
    page = (tmp_path / "page" / "index.html").read_text()
    assert f"<code>{before}</code> to <code>{after}</code>" in page
    assert "<h3>item-3 <span" in page
    assert "<img" not in page
    assert "<script" not in page
    assert "http" not in page


def test_diff_page_escapes_what_ids_hold(tmp_path: Path) -> None:
    query = QueryChange("<b>&", ("<i>",), ("x",))
    found = VersionDiff("a", "b", 1, 1, ("<script>",), (), (), "digest", False, 1, 1, 0.0, (query,))
    page = write_diff_page(found, {}, tmp_path).read_text()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "made with different models" in page


def test_diff_unknown_version_is_not_found(two) -> None:
    with pytest.raises(NotFound, match="0000000000000000"):
        diff(two[0], "0" * 16, two[1])


def test_diff_page_shows_pictures_where_there_are_media(tmp_path: Path) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (300, 150), color).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = "item_id,uri\na,a.png\nb,b.png\nbroken,broken.png\ngone,gone.png\n"
    (tmp_path / "catalog.csv").write_text(rows)
    shape = MediaShape("image", "uint8", (128, 256, 3))
    wanted = {"a", "broken", "gone", "nobody"}
    found = thumbnails(wanted, shape, str(tmp_path / "catalog.csv"), False, tmp_path / "examples")
    assert list(found) == ["a"]
    with Image.open(io.BytesIO(found["a"])) as picture:
        assert (picture.size, picture.getpixel((5, 5))) == ((64, 32), (255, 0, 0))
    change = QueryChange("broken", ("a",), ("nobody",))
    changes = VersionDiff("x", "y", 4, 4, ("a", "gone"), (), (), "digest", True, 1, 1, 0.0, (change,))
    page = write_diff_page(changes, found, tmp_path / "page").read_text()
    assert page.count("<img") == 2
    assert page.count("no picture") == 4


def test_diff_page_shows_clips_and_sounds_by_their_spectra(tmp_path: Path) -> None:
    times = np.arange(3 * 8000) / 8000
    for name, hertz in (("a", 300.0), ("b", 3000.0)):
        soundfile.write(tmp_path / f"{name}.wav", 0.5 * np.sin(2 * np.pi * hertz * times), 8000)
    (tmp_path / "catalog.csv").write_text("item_id,uri\na,a.wav\nb,b.wav\nbroken,catalog.csv\n")
    shape = sound_shape(SoundSettings(sample_rate=8000, seconds=1.0, hop_seconds=1.0))
    wanted = {"a", "a#2", "a#9", "b#0", "broken"}
    found = thumbnails(wanted, shape, str(tmp_path / "catalog.csv"), False, tmp_path / "examples")
    assert set(found) == {"a", "a#2", "b#0"}
    loudest = {}
    for name, png in found.items():
        with Image.open(io.BytesIO(png)) as picture:
            assert max(picture.size) <= 64
            loudest[name] = np.asarray(picture).mean(axis=1).argmax()
    assert loudest["a"] == loudest["a#2"] > loudest["b#0"]


def test_diff_of_clips_counts_sounds_and_compares_nearest_other_sounds(tmp_path: Path) -> None:
    """Sounds of three clips: s0 to s19, then without s5, with s3 changed, s4 of two clips, and s20 added."""
    store, vectors = LocalStore(str(tmp_path / "store")), some_vectors(items=66)
    before = _publish_clips(store, tmp_path / "old", vectors[:60], {}, drop=())
    after = _publish_clips(store, tmp_path / "new", vectors[:63], {"s3": "other"}, drop=("s5", "s4#2"))
    found = diff(store.url, before, after)
    assert (found.added, found.removed, found.changed) == (("s20",), ("s5",), ("s3", "s4"))
    assert (found.items_before, found.items_after, found.clips) == (20, 20, (60, 59))
    assert found.sampled == 56
    for query in found.most_changed:
        assert query.item_id.partition("#")[0] not in {*query.before, *query.after}
        assert len(query.before) == len(set(query.before)) == 10
    assert found.plain(5)["after"] == {"version": after, "items": 20, "clips": 59}
    shown = diff_text(found)
    assert "sounds     20 -> 20: 1 added, 1 removed, 2 changed (by digest)\nclips      60 -> 59" in shown
    assert "have other nearest ten sounds" in shown


def _publish_clips(
    store: LocalStore, folder: Path, vectors: np.ndarray, digests: dict[str, str], drop: tuple[str, ...]
) -> str:
    names = [f"s{n // 3}#{n % 3}" for n in range(len(vectors))]
    kept = [n for n, name in enumerate(names) if name not in drop and name.partition("#")[0] not in drop]
    manifest = version_folder(folder, vectors[kept])
    table = pq.read_table(folder / "items.parquet")
    clips = [names[kept[int(i.removeprefix("item-"))]] for i in table.column("item_id").to_pylist()]
    sounds = [clip.partition("#")[0] for clip in clips]
    columns = {
        "row": table.column("row"),
        "item_id": clips,
        "digest": [digests.get(sound, sound) for sound in sounds],
        "source_id": sounds,
        "start": [float(clip.partition("#")[2]) for clip in clips],
    }
    pq.write_table(pa.table(columns), folder / "items.parquet")
    files = (file_entry(folder, "items.parquet"),)
    current = latest(store)
    return publish(store, folder, replace(manifest, clips=Clips(2.0, 1.0), files=files, parent=current))
