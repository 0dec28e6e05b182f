"""The page stands alone, escapes what catalogs say, and shows right and wrong by more than colour."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sim_transforms.quality.confusion import Confusion, confusion
from sim_transforms.records.manifests import (
    Calibration,
    IndexFile,
    RecallInterval,
    ReliabilityBin,
    RowRange,
    VersionManifest,
)
from sim_transforms.records.media import Clips
from sim_transforms.report.changes import QueryChange, VersionDiff
from sim_transforms.report.data import Changes, CurvePoint, Point, ReportData, Row, Section, Tile
from sim_transforms.report.page import picture_png, picture_webp, quality_rows, thumbnail, write_report
from sim_transforms.report.projection import COLOURS, draw_projection
from sim_transforms.report.reliability import draw_reliability
from tests.unit.report.elements import elements_of

_NASTY = '<script>alert("x")</script>&'
_METRICS = {"precision_at_1": 0.99, "precision_at_5": 0.98, "recall_at_10": 1.0, "map_at_r": 0.7, "queries": 1234.0}


def _manifest() -> VersionManifest:
    return VersionManifest(
        parent=None,
        catalog="c",
        model="m",
        items=1797,
        dimension=64,
        space="cosine",
        parameters={},
        recall_target=0.99,
        ef_search=24,
        recall=(RecallInterval(10, 24, 0.9953, 0.9888, 0.998, 1000),),
        canaries=(),
        churn=0.0,
        row_ranges=(RowRange(0, 0, 1797),),
        calibration=None,
        metadata_columns={},
        cpu="",
        index=IndexFile(734003, "", ()),
        files=(),
    )


def _data() -> ReportData:
    png = picture_png(np.arange(64, dtype=np.uint8).reshape(8, 8, 1))
    tiles = (Tile("near", "1", png, 0.125, True), Tile("far", "7", png, 0.5, False))
    return ReportData(
        name="digits",
        version="0123456789abcdef",
        manifest=_manifest(),
        evaluation={"known": _METRICS, "unseen": {}, "raw": {"known": _METRICS, "unseen": {}}},
        rejects={"truncated": 3, "empty": 2},
        items_in=1802,
        curve=(CurvePoint(10, 0.985, 50_000.0), CurvePoint(24, 0.998, 20_000.0)),
        sections=(Section("Mistakes", "Some.", (Row(Tile("asked", "1", png), tiles),)),),
    )


def small_report() -> ReportData:
    """One that shows little."""
    return replace(_data(), sections=(), curve=())


def whole_report(confused: Confusion, points: tuple[Point, ...], changes: Changes) -> ReportData:
    """One that shows all there is to show."""
    bins = (ReliabilityBin(0.1, 300, 0.99), ReliabilityBin(0.4, 1200, 0.25))
    manifest = replace(_manifest(), calibration=Calibration(0.2, 0.95, 0.96, 0.91, 0.93, 1137, bins))
    return replace(_data(), manifest=manifest, confusion=confused, points=points, changes=changes, linked=True)


def _page(data: ReportData, folder: Path) -> str:
    return write_report(data, folder).read_text(encoding="utf-8")


def test_write_report_gives_one_page_and_its_manifest(tmp_path: Path) -> None:
    assert write_report(_data(), tmp_path / "out") == tmp_path / "out" / "index.html"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["index.html", "manifest.json"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [f["name"] for f in manifest["files"]] == ["index.html"]


def test_write_report_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    assert _page(_data(), tmp_path / "a") == _page(_data(), tmp_path / "b")


def test_write_report_asks_nothing_of_any_other_place(tmp_path: Path) -> None:
    elements = elements_of(_page(_data(), tmp_path))
    addresses = [v for _, a in elements for n, v in a.items() if n in ("src", "href", "srcset", "data", "action")]
    assert len(addresses) == 3
    assert all(str(a).startswith("data:image/png;base64,") for a in addresses)
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in elements)
    assert "url(" not in _page(_data(), tmp_path)
    assert "@import" not in _page(_data(), tmp_path)


def test_write_report_of_nasty_texts_escapes_all_of_them(tmp_path: Path) -> None:
    tile = Tile(_NASTY, _NASTY, b"", 0.1, True)
    section = Section(_NASTY, _NASTY, (Row(replace(tile, right=None, distance=None), (tile,)),))
    data = replace(_data(), name=_NASTY, rejects={_NASTY: 1}, sections=(section,))
    page = _page(data, tmp_path)
    assert "<script" not in page
    assert {"script"}.isdisjoint(tag for tag, _ in elements_of(page))


def test_write_report_shows_the_numbers(tmp_path: Path) -> None:
    page = _page(_data(), tmp_path)
    shown = ("0123456789abcdef", "1,797", "1,802", "3 truncated", "0.9953", "0.9888 to 0.9980", "0.7 MiB", "0.7000")
    assert [text for text in shown if text not in page] == []


def test_write_report_marks_right_and_wrong_by_sign_and_text(tmp_path: Path) -> None:
    page = _page(_data(), tmp_path)
    assert (page.count("✓"), page.count("✗")) == (1, 1)
    assert "right class" in page
    assert "wrong class" in page
    assert "0.125" in page
    assert "0.500" in page


def test_write_report_names_every_picture_and_drawing(tmp_path: Path) -> None:
    elements = elements_of(_page(_data(), tmp_path))
    assert [a["alt"] for tag, a in elements if tag == "img"] == ["asked, class 1", "near, class 1", "far, class 7"]
    (drawing,) = [a for tag, a in elements if tag == "svg"]
    assert drawing["role"] == "img"
    assert "ef 24: recall 0.9980" in str(drawing["aria-label"])
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a} <= set(ids)


def test_write_report_without_pictures_shows_ids(tmp_path: Path) -> None:
    row = Row(Tile("asked", "", None), (Tile("near", "", None, 0.2),))
    page = _page(replace(_data(), sections=(Section("Some", "", (row,)),)), tmp_path)
    assert "asked" in page
    assert "near" in page
    assert "img" not in {tag for tag, _ in elements_of(page)}
    assert not re.search("[✓✗]", page)


def test_write_report_of_a_bare_version_still_makes_a_page(tmp_path: Path) -> None:
    data = replace(_data(), evaluation=None, rejects={}, items_in=None, curve=(), sections=())
    page = _page(data, tmp_path)
    assert "1,797" in page
    assert "<table>" not in page
    assert "<svg" not in page
    elements_of(page)


@pytest.mark.parametrize("evaluation", [None, {}, {"known": {}, "unseen": {}, "raw": None}])
def test_quality_rows_without_figures_are_none(evaluation: dict[str, Any] | None) -> None:
    assert quality_rows(evaluation) == []


def test_quality_rows_put_the_model_beside_raw_pixels() -> None:
    rows = quality_rows({"known": _METRICS, "unseen": _METRICS, "raw": {"known": _METRICS, "unseen": {}}})
    assert [(r["title"], r["kind"]) for r in rows] == [
        ("Classes seen in training", "model"),
        ("Classes seen in training", "raw pixels"),
        ("Classes never seen in training", "model"),
    ]


def test_quality_rows_name_what_stands_beside_the_model() -> None:
    figures = {"known": _METRICS, "unseen": {}, "raw": {"known": _METRICS, "unseen": {}}, "raw_kind": "spectrum"}
    assert [row["kind"] for row in quality_rows(figures)] == ["model", "raw spectrum"]


_CLASS = {"known": True, "map_at_r": 0.5, "low": 0.4, "high": 0.9, "queries": 12, "gallery": 40}
_OPEN = {"queries": 330.0, "auroc": 0.9967, "answered": 0.98, "right": 0.9727, "refused": 0.9701}


def test_write_report_names_the_classes_that_are_found_worst_and_their_intervals(tmp_path: Path) -> None:
    classes = [{**_CLASS, "label": f"{_NASTY}{n}", "precision_at_1": n / 25} for n in range(26)]
    figures = {"known": _METRICS, "intervals": {"known": {"precision_at_1": [0.981, 0.997]}}, "classes": classes}
    page = _page(replace(_data(), evaluation=figures), tmp_path)
    assert "0.9810 to 0.9970" in page
    assert "0.4000 to 0.9000" in page
    assert "&lt;script&gt;" in page
    assert [page.count(f"&amp;{n}<") for n in (0, 19, 20, 25)] == [1, 1, 0, 0]


def test_write_report_of_classes_all_found_names_none(tmp_path: Path) -> None:
    classes = [{**_CLASS, "label": "a", "precision_at_1": 1.0}]
    assert "found worst" not in _page(replace(_data(), evaluation={"known": _METRICS, "classes": classes}), tmp_path)


def test_write_report_shows_what_a_distance_means_and_the_open_set_test(tmp_path: Path) -> None:
    bins = (ReliabilityBin(0.1, 300, 0.99), ReliabilityBin(0.4, 1200, 0.25))
    calibration = Calibration(0.2, 0.95, 0.96, 0.91, 0.93, 1137, bins)
    manifest = replace(_manifest(), calibration=calibration)
    figures = {"open_set": {"known": _OPEN, "unseen": {}}}
    page = _page(replace(_data(), manifest=manifest, evaluation=figures), tmp_path)
    texts = ("up to 0.100: 99.0% of 300 answers right", "1,137 items of the train split", "0.9967", "97.3 %", "97.0 %")
    for shown in texts:
        assert shown in page
    bars = [a for tag, a in elements_of(page) if tag == "rect"]
    assert [float(str(bar["width"])) for bar in bars] == [140.0, 420.0]
    (limit,) = [a for tag, a in elements_of(page) if a.get("class") == "limit"]
    assert float(str(limit["x1"])) == float(str(bars[0]["x"])) + 280.0


def test_bars_of_distances_below_zero_and_of_bins_apart_have_their_own_width() -> None:
    bins = tuple(ReliabilityBin(edge, 10, 0.5) for edge in (-0.9, -0.8, -0.1))
    drawing = draw_reliability(Calibration(-0.5, 0.95, 0.96, 0.91, 0.93, 9, bins))
    assert drawing is not None
    assert len({round(bar.width) for bar in drawing.bars}) == 1
    first, second, last = drawing.bars
    assert first.x < second.x < drawing.limit < last.x
    assert (first.x, last.x + last.width) == (drawing.left, pytest.approx(drawing.right, abs=70))


def test_write_report_of_an_open_set_without_a_threshold_shows_dashes(tmp_path: Path) -> None:
    figures = {"open_set": {"known": {"queries": 3.0, "auroc": 0.5}, "unseen": {}}}
    page = _page(replace(_data(), evaluation=figures), tmp_path)
    assert page.count("<td>–</td>") == 3
    assert "What a distance" not in page


def test_report_of_clips_counts_clips_of_sounds(tmp_path: Path) -> None:
    data = _data()
    page = _page(replace(data, manifest=replace(data.manifest, clips=Clips(5.0, 2.5))), tmp_path)
    assert "<dt>Clips</dt><dd>1,797<small>of 1,802 sounds in the catalog" in page


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_png_read_again_gives_the_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    again = np.asarray(Image.open(io.BytesIO(picture_png(pixels))))
    np.testing.assert_array_equal(again.reshape(pixels.shape), pixels)


def _points(labels: str) -> tuple[Point, ...]:
    """One point a letter, of lower case where its class is known."""
    return tuple(
        Point(n / len(labels), 1 - n / len(labels), f"item-{n}", each, None, each.islower())
        for n, each in enumerate(labels)
    )


def test_write_report_shows_each_point_with_its_picture_and_texts(tmp_path: Path) -> None:
    webp = picture_webp(thumbnail(np.zeros((90, 60, 3), np.uint8), 48))
    with Image.open(io.BytesIO(webp)) as small:
        assert small.size == (32, 48)
    points = (Point(0.0, 0.0, _NASTY, _NASTY * 9, webp, True), Point(1.0, 1.0, "b", "", None, None))
    page = _page(replace(_data(), points=points, sections=(), curve=()), tmp_path)
    elements = elements_of(page)
    (picture,) = [a["href"] for tag, a in elements if tag == "image"]
    assert str(picture).startswith("data:image/webp;base64,")
    assert len([a for tag, a in elements if a.get("class", "").startswith("p c")]) == 2
    assert "<script" not in page
    (drawing,) = [a for tag, a in elements if a.get("class") == "plane"]
    assert "Items in the plane" in str(drawing["aria-label"])


def test_draw_projection_gives_the_most_frequent_classes_a_colour_of_their_own() -> None:
    few = draw_projection(_points("aab"))
    assert few is not None
    assert [(e.name, e.colour, e.count) for e in few.legend] == [("a", 0, 2), ("b", 1, 1)]
    many = draw_projection(_points("abcdefghijkl" + "abcdefgh" + "KL"))
    assert many is not None
    own = [entry for entry in many.legend if entry.colour < COLOURS]
    assert [entry.name for entry in own] == sorted(entry.name for entry in own)
    assert len(own) == COLOURS - 1
    assert (many.legend[-1].name, many.legend[-1].colour) == ("5 other classes", COLOURS)
    assert sum(entry.count for entry in many.legend) == len(many.dots)


def test_draw_projection_of_classes_never_seen_is_hollow_and_of_none_has_no_legend() -> None:
    drawn = draw_projection(_points("aB"))
    assert drawn is not None
    assert [(dot.label, dot.hollow) for dot in drawn.dots] == [("a", False), ("B", True)]
    assert [(entry.name, entry.hollow) for entry in drawn.legend] == [("B", True), ("a", False)]
    bare = draw_projection((Point(0.5, 0.5, "x", "", None, None),))
    assert bare is not None
    assert (bare.legend, bare.described) == ((), "items: 1")
    assert draw_projection(()) is None


def test_write_report_shows_what_is_taken_for_what(tmp_path: Path) -> None:
    found = confusion(["1", "1", "7", _NASTY], ["1", "7", "7", ""], most=3)
    page = _page(replace(_data(), confusion=found), tmp_path)
    cells = [a for tag, a in elements_of(page) if tag == "td" and "style" in a]
    assert [(a["class"], a["style"]) for a in cells] == [
        ("right", "--share: 50"),
        ("wrong", "--share: 50"),
        ("right", "--share: 100"),
        ("wrong", "--share: 100"),
    ]
    assert "taken for <b>7</b> (1 of 2)" in page
    assert "taken for <b>no class</b> (1 of 1)" in page
    assert "<script" not in page


def test_write_report_shows_what_changed_since_the_version_before(tmp_path: Path) -> None:
    query = QueryChange("asked", ("kept", "gone"), ("kept", "new"))
    before = VersionDiff("b" * 16, "a" * 16, 9, 10, ("new",), (), ("x",), "digest", True, 7, 1, 0.9, (query,))
    png = picture_png(np.zeros((4, 4, 1), np.uint8))
    page = _page(replace(_data(), changes=Changes(before, 4, 0.9911, {"asked": png, "kept": png})), tmp_path)
    for text in (
        "b" * 16,
        "9 before",
        "0.9911 before",
        "90.0 %",
        "1 of 7 sampled queries",
        "1 of 2 stay",
        "<dt>Removed</dt><dd>4</dd>",
    ):
        assert text in page
    kinds = [str(a["class"]) for tag, a in elements_of(page) if tag == "figure" and a.get("class") in ("came", "went")]
    assert kinds == ["went", "came"]
    assert page.count("no picture") == 2
    assert "What changed since" not in _page(_data(), tmp_path)
