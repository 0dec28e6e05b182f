"""The report in a browser: readable for everyone, pictures where one points, and light on paper."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from sim_transforms.quality.confusion import confusion
from sim_transforms.report.changes import QueryChange, VersionDiff
from sim_transforms.report.data import Changes, Point
from sim_transforms.report.page import picture_png, picture_webp, write_report
from tests.unit.report.test_page import whole_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a page that shows everything."""
    png = picture_png(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    points = tuple(
        Point(n / 9, (n * 7 % 10) / 9, f"item-{n}", "ab"[n % 2], picture_webp(np.zeros((8, 8, 3), np.uint8)), n < 5)
        for n in range(10)
    )
    query = QueryChange("asked", ("kept", "gone"), ("kept", "new"))
    diff = VersionDiff("b" * 16, "a" * 16, 9, 10, ("new",), (), ("x",), "digest", True, 7, 1, 0.9, (query,))
    found = confusion(list("aabbb"), [*list("abbb"), ""], most=5)
    changes = Changes(diff, 1, 0.99, {"asked": png})
    return write_report(whole_report(found, points, changes), tmp_path_factory.mktemp("report")).as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_report(browser: Browser, address: str, scheme: Any) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(address)
    found = Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()
    page.close()


def test_picture_of_a_dot_is_shown_where_one_points_at_it(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    tip = page.locator(".plane .p").nth(3).locator(".tip")
    expect(tip).to_be_hidden()
    page.locator(".plane .p circle").nth(3).hover()
    expect(tip).to_be_visible()
    expect(tip).to_contain_text("item-3")
    page.close()


def test_report_on_paper_is_light_and_wide_enough(browser: Browser, address: str, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 700, "height": 1000})
    page.goto(address)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.pdf(path=tmp_path / "report.pdf", format="A4").startswith(b"%PDF")
    page.emulate_media(media="screen", color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()
