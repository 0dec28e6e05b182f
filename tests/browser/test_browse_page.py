"""The page inside a version in a real browser: from a folder and over plain HTTP, with keys alone, on a phone."""

import functools
import io
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from sim_transforms.lookup.open import OpenVersion, open_version
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import publish
from tests.unit.browse.pages import HOSTILE, paged_version
from tests.unit.storage.published import some_vectors

pytestmark = pytest.mark.browser

ITEMS = 600


def _picture(item_id: str, digest: str) -> bytes | None:
    """A gradient of the item's own; one item has none."""
    if digest == "d9":
        return None
    number = int(digest[1:])
    x, y = np.meshgrid(np.arange(16), np.arange(16))
    pixels = np.stack([x * 16, y * 16, np.full_like(x, number % 256)], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.roll(pixels, number, axis=(0, 1))).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    folder = tmp_path_factory.mktemp("browsed")
    columns = {
        "label": [("cat", "dog", "שועל", "")[row % 4] for row in range(ITEMS)],
        "price": [row / 4 for row in range(ITEMS)],
        "where": ["in the garden" if row % 5 == 0 else None for row in range(ITEMS)],
    }
    manifest = paged_version(folder / "new", some_vectors(items=ITEMS), _picture, (3, 400), **columns)
    store = LocalStore(str(folder / "store"))
    publish(store, folder / "new", manifest)
    return store


@pytest.fixture(scope="module")
def opened(store: LocalStore) -> OpenVersion:
    return open_version(store.url)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture(scope="module")
def served(store: LocalStore, opened: OpenVersion) -> Iterator[str]:
    """Address of the page in a server of plain files."""
    handler = functools.partial(_Handler, directory=str(opened.folder.parent.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/versions/{opened.version}/page/index.html"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(opened: OpenVersion) -> str:
    """Address of the page in its folder."""
    return (opened.folder / "page" / "index.html").as_uri()


@pytest.fixture(params=["folder", "served"])
def address(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """Fails also where the page was kept from something by its policy."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield page
    assert problems == []


def _names(page: Page) -> list[str]:
    return page.locator("#answers .name").all_text_contents()


def test_item_is_found_with_keys_alone_and_its_neighbours_followed(
    page: Page, address: str, opened: OpenVersion
) -> None:
    page.goto(address)
    expect(page.locator("#status")).to_contain_text("of 598 items")
    expect(page.locator("#version")).to_contain_text(f"version {opened.version}, 598 items, cosine, 12 neighbours")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox", name="An item's id")).to_be_focused()
    page.keyboard.type("M-59")
    expect(page.get_by_role("option")).to_have_count(11)
    expect(page.locator("#hint")).to_have_text("11 ids hold this")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", selected=True)).to_have_text("item-590")
    page.keyboard.press("Enter")
    expect(page.locator("#asked .name")).to_have_text("item-590")
    expect(page.locator("#results")).to_be_focused()
    assert _names(page) == [match.item_id for match in opened.search_item("item-590", 12)]
    expect(page.locator("#answers img")).to_have_count(12)
    expect(page).to_have_title("item-590 - Ruiji")
    followed = _names(page)[0]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#asked .name")).to_have_text(followed)
    expect(page.locator("#results")).to_be_focused()
    page.go_back()
    expect(page.locator("#asked .name")).to_have_text("item-590")
    page.go_forward()
    expect(page.locator("#asked .name")).to_have_text(followed)


def test_neighbours_are_filtered_by_label(page: Page, folder: str) -> None:
    page.goto(f"{folder}#item=item-20")
    expect(page.locator("#answers li")).to_have_count(12)
    labels = page.locator("#answers dd").all_text_contents().count("cat")
    page.get_by_label("Only the label").select_option("cat")
    expect(page.locator("#status")).to_have_text(f"{labels} of 12 neighbours have this label")
    expect(page.locator("#answers li")).to_have_count(labels)
    page.locator("#answers a").first.click()
    expect(page.get_by_label("Only the label")).to_have_value("cat")
    page.go_back()
    page.go_back()
    expect(page.locator("#answers li")).to_have_count(12)


def test_what_is_too_far_is_marked(page: Page, folder: str, opened: OpenVersion) -> None:
    page.goto(f"{folder}#item=item-20")
    far = [match.distance > 0.2 for match in opened.search_item("item-20", 12)]
    expect(page.locator(".card.beyond")).to_have_count(sum(far))
    alone = max(
        (f"item-{row}" for row in range(20, 120)), key=lambda item_id: opened.search_item(item_id, 1)[0].distance
    )
    assert opened.search_item(alone, 1)[0].distance > 0.2
    page.goto(f"{folder}#item={alone}")
    expect(page.locator(".none")).to_contain_text("No match")


def test_hostile_ids_are_text_and_can_be_found(page: Page, folder: str) -> None:
    for row, item_id in enumerate(HOSTILE):
        if row == 3:  # a free row
            continue
        page.goto(f"{folder}#item={quote(item_id, safe='')}")
        expect(page.locator("#asked .name")).to_have_text(item_id, use_inner_text=False)
        expect(page.locator("#answers li")).to_have_count(12)
    assert page.locator("#results script, #results img[src='x']").count() == 0
    page.goto(folder)
    page.get_by_role("combobox", name="An item").fill("onerror")
    page.get_by_role("option", name="<img src=x onerror=alert(1)>").click()
    expect(page.locator("#asked .name")).to_have_text("<img src=x onerror=alert(1)>")


def test_item_that_is_not_there_is_told(page: Page, folder: str) -> None:
    page.goto(f"{folder}#item=%3Cimg+src%3Dx%3E")
    expect(page.get_by_role("alert")).to_have_text('This version holds no item "<img src=x>".')
    page.get_by_role("combobox", name="An item").fill("item-400")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text('This version holds no item "item-400".')
    page.get_by_role("combobox", name="An item").fill("item-40")
    page.keyboard.press("Enter")
    expect(page.locator("#asked .name")).to_have_text("item-40")
    page.get_by_role("combobox", name="An item").fill("ITEM-4")
    page.keyboard.press("Enter")
    expect(page.locator("#hint")).to_have_text("109 ids hold this: choose one")
    expect(page.get_by_role("combobox", name="An item")).to_be_focused()
    page.get_by_role("link", name="Ruiji").click()
    expect(page.locator("#answers h2")).to_have_text("Items to begin with")


def test_other_items_to_begin_with_are_others(page: Page, folder: str) -> None:
    page.goto(folder)
    expect(page.locator("#answers li")).to_have_count(48)
    first = _names(page)
    page.get_by_role("link", name="Other items").click()
    expect(page.locator("#answers .name").first).not_to_have_text(first[0])
    assert not set(first) & set(_names(page))
    page.go_back()
    expect(page.locator("#answers .name").first).to_have_text(first[0])


def test_suggestions_close_with_escape_and_wrap_around(page: Page, folder: str) -> None:
    page.goto(folder)
    box = page.get_by_role("combobox", name="An item")
    box.press_sequentially("item-59")
    expect(box).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("option", selected=True)).to_have_text("item-599")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", selected=True)).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#suggestions")).to_be_hidden()
    expect(box).to_have_attribute("aria-expanded", "false")
    expect(box).to_have_value("item-59")


def test_file_that_is_missing_is_told_and_asked_for_again(
    browser: Browser, opened: OpenVersion, tmp_path: Path
) -> None:
    shutil.copytree(opened.folder / "page", tmp_path / "page")
    missing = tmp_path / "page" / "rows" / "000001.js"
    missing.rename(tmp_path / "kept")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{(tmp_path / 'page' / 'index.html').as_uri()}#item=item-300")
    expect(page.get_by_role("alert")).to_contain_text("rows/000001.js, a file of this page, cannot be read")
    assert "version" not in page.locator("#version").inner_text()
    (tmp_path / "kept").rename(missing)
    page.get_by_role("combobox", name="An item").press("Enter")
    expect(page.locator("#answers li")).to_have_count(12)
    context.close()


def _shot(page: Page, name: str) -> None:
    """A picture of the page for whoever works at it, into the folder that RUIJI_SCREENSHOTS names."""
    if folder := os.environ.get("RUIJI_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def test_phone_shows_all_without_scrolling_sideways(browser: Browser, folder: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
    page = context.new_page()
    for hash_, count in (("", 48), (f"#item={quote(HOSTILE[0])}", 12)):
        page.goto(f"{folder}{hash_}")
        expect(page.locator("#answers li")).to_have_count(count)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for field in page.locator("form#query input, form#query button, form#query select").all():
            box = field.bounding_box()
            assert box is None or box["height"] >= 44
        _shot(page, f"phone-{count}")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, folder: str, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    page = context.new_page()
    for step in ("item", "start"):
        page.goto(f"{folder}#item=item-20" if step == "item" else folder)
        expect(page.locator("#answers li")).to_have_count(12 if step == "item" else 48)
        page.wait_for_load_state("networkidle")
        _shot(page, f"{scheme}-{step}")
        if step == "start":
            # With suggestions, one of them chosen, and a problem.
            page.get_by_role("combobox", name="An item").press_sequentially("em-5")
            page.keyboard.press("Enter")
            expect(page.locator("#hint")).to_have_text("110 ids hold this: choose one")
            page.keyboard.press("ArrowDown")
            _shot(page, f"{scheme}-typed")
        found = Axe().run(page)
        assert found.response["violations"] == [], found.generate_report()
    context.close()
