"""The page about media stands alone, escapes what catalogs say, names what it draws, and says what it left out."""

import io
import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim_transforms.report.histogram import BINS, histogram, number
from sim_transforms.report.media_data import (
    ClassBalance,
    Copies,
    CopyGroup,
    LabelCount,
    LabelLeaks,
    LeakPair,
    LeakReport,
    MediaReport,
    RejectReason,
    Sample,
)
from sim_transforms.report.media_page import write_media_page
from sim_transforms.report.page import picture_png, write_page
from sim_transforms.report.waveform import HEIGHT, draw_waveform, wav_bytes
from tests.unit.report.elements import elements_of

_NASTY = '<script>alert("x")</script>&\'"'
_PNG = picture_png(np.arange(64, dtype=np.uint8).reshape(8, 8, 1))
_TONE = np.rint(20_000 * np.sin(np.arange(16_000) / 10)).astype(np.int16)


def _report(text: str = "plain", **changes: object) -> MediaReport:
    sample = Sample(text, text, text, _PNG, note=text)
    copies = Copies(3, 7, 1, (CopyGroup(9, True, (sample, sample)),))
    report = MediaReport(
        name=text,
        kind="image",
        files_in=1234,
        accepted=1230,
        rejected=4,
        items=1230,
        skipped_clips=0,
        rejects=(RejectReason(text, 4, (Sample(text, note=text), sample)),),
        balance=ClassBalance(2, 5, ((2, 1), (5, 1), (10, 2)), (LabelCount(text, 8, 1), LabelCount("b", 0, 1)), ()),
        histograms=(histogram("Width", np.arange(100), "pixels"), histogram("Height", np.zeros(0))),
        sizes=(("8 x 8", 1230),),
        exact=copies,
        near=copies,
        leaks=LeakReport(400, 1, 2, (LabelLeaks(text, 10, 1, 2),), (LeakPair(sample, sample, False, 3),)),
        distance=4,
        flat=6,
        whole=True,
        linked=False,
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def _page(report: MediaReport, folder: Path) -> str:
    return write_media_page(report, folder).read_text(encoding="utf-8")


def test_write_media_page_of_nasty_texts_escapes_all_of_them(tmp_path: Path) -> None:
    page = _page(_report(_NASTY), tmp_path)
    assert "<script" not in page
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in elements_of(page))


def test_write_media_page_asks_nothing_of_any_other_place(tmp_path: Path) -> None:
    page = _page(_report(), tmp_path)
    addresses = [v for _, a in elements_of(page) for n, v in a.items() if n in ("src", "href", "srcset")]
    assert addresses
    assert all(str(a).startswith("data:image/png;base64,") for a in addresses)
    assert "url(" not in page


def test_write_media_page_shows_the_counts(tmp_path: Path) -> None:
    page = _page(_report(), tmp_path)
    shown = ("1,234", "1,230", "of 400 test items", "1 exact, 2 near", "30.0 %", "labels differ", "and 7 more")
    assert [text for text in shown if text not in page] == []
    assert "2 labels; 1 with fewer than 2, 1 with fewer than 5, 2 with fewer than 10" in page
    assert "6 without any detail" in page
    assert "and 2 more groups" in page


def test_write_media_page_names_pictures_headings_and_tables(tmp_path: Path) -> None:
    elements = elements_of(_page(_report(), tmp_path))
    assert all(a["alt"] for tag, a in elements if tag == "img")
    assert all(a.get("scope") in ("col", "row") for tag, a in elements if tag == "th")
    assert all(
        a.get("aria-hidden") or a.get("aria-label") for tag, a in elements if tag == "svg" and "key" not in a.values()
    )
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a} <= set(ids)
    assert [tag for tag, _ in elements if tag == "h1"] == ["h1"]


def test_write_media_page_of_sounds_draws_waves_and_plays_some(tmp_path: Path) -> None:
    drawn = Sample("a#0", wave=draw_waveform(_TONE, 16_000), wav=wav_bytes(_TONE, 16_000))
    copies = Copies(1, 2, 0, (CopyGroup(2, False, (drawn, replace(drawn, wav=None))),))
    page = _page(_report(kind="audio", skipped_clips=11, near=copies), tmp_path)
    elements = elements_of(page)
    assert [a["aria-label"] for tag, a in elements if tag == "audio"] == ["sound of a#0"]
    assert "waveform of a#0, 1.0 seconds" in page
    assert "Skipped clips" in page


def test_write_media_page_of_an_empty_report_still_makes_a_page(tmp_path: Path) -> None:
    none = Copies(0, 0, 0, ())
    balance, leaks = ClassBalance(0, 0, (), (), ()), LeakReport(0, 0, 0, (), ())
    bare = _report(rejects=(), exact=none, near=none, balance=balance, leaks=leaks, histograms=(), sizes=())
    page = _page(bare, tmp_path)
    assert page.count("<p>None.</p>") == 4
    elements_of(page)


def test_write_media_page_of_a_search_that_was_ended_says_so(tmp_path: Path) -> None:
    page = _page(_report(whole=False), tmp_path)
    assert "at least 7" in page
    assert "there are more" in page


def test_write_media_page_cuts_long_texts_but_never_ids(tmp_path: Path) -> None:
    # `ruiji forget` looks for ids in pages.
    shown = Sample("i" * 1024, "x" * 5000, note="x" * 5000)
    page = _page(_report("x" * 5000, rejects=(RejectReason("r", 1, (shown,)),)), tmp_path)
    assert "x" * 159 + "…" in page
    assert "i" * 1024 in page
    cut = _page(_report("x" * 5000, leaks=LeakReport(0, 0, 0, (), ()), rejects=()), tmp_path)
    assert "<h1>" + "x" * 159 + "…: media</h1>" in cut


def test_write_media_page_beside_the_index_links_and_both_stand_in_the_manifest(tmp_path: Path) -> None:
    write_page("<p>index</p>", tmp_path)
    assert 'href="index.html"' in _page(_report(linked=True), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [f["name"] for f in manifest["files"]] == ["index.html", "media.html"]


def test_write_media_page_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    assert _page(_report(), tmp_path / "a") == _page(_report(), tmp_path / "b")


@pytest.mark.parametrize("values", [[3, 3, 5], list(range(100)), [1, 10, 100, *range(1000, 9000, 7)], [0.5] * 9])
def test_histogram_of_any_values_loses_none(values: list[float]) -> None:
    drawn = histogram("Some", np.array(values))
    assert sum(bar.count for bar in drawn.bars) == len(values)
    assert len(drawn.bars) <= BINS
    assert len({bar.text for bar in drawn.bars}) == len(drawn.bars)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3, "3"), (12_345, "12,345"), (1_234_567, "1.23M"), (0.125, "0.125"), (1.5, "1.50"), (99.96, "100.0")],
)
def test_number_is_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("count", [1, 5, 96, 97, 16_000])
def test_draw_waveform_of_any_length_stays_inside(count: int) -> None:
    extremes = np.where(np.arange(count) % 2, 32_767, -32_768).astype(np.int16)
    points = [tuple(map(float, p.split(","))) for p in draw_waveform(extremes, 8000).points.split()]
    assert len(points) == 2 * min(count, 96)
    assert all(0 <= x <= 96 and 0 <= y <= HEIGHT for x, y in points)


def test_wav_bytes_are_a_short_file_of_a_low_rate() -> None:
    data = wav_bytes(np.tile(_TONE, 20), 44_100)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8820)
        assert file.getnframes() == 5 * 8820
    assert len(data) < 170_000
