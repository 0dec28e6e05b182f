"""The search page in a real browser: by upload, item and keys alone, on a phone, and with axe's eyes."""

import io
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from sim_transforms.errors import MediaError
from sim_transforms.lookup.open import OpenVersion
from sim_transforms.service.uploads import Uploads
from sim_transforms.settings.serving import ServeSettings
from sim_transforms.storage.local import LocalStore
from sim_transforms.storage.versions import latest, publish
from tests.unit.service.services import Service, small_service
from tests.unit.storage.published import published_store, some_vectors, version_folder

pytestmark = pytest.mark.browser

KEY = b"0123456789abcdef"
SHADES = 60


class _Shades:
    """Stands in for a model: a picture is the item whose number is its shade of grey."""

    def embed(self, opened: OpenVersion, data: bytes) -> tuple[np.ndarray[Any, Any], list[float]]:
        try:
            shade = int(np.asarray(Image.open(io.BytesIO(data)).convert("L"))[0, 0])
        except OSError as error:
            raise MediaError("unsupported", "this is no picture") from error
        return some_vectors()[shade % SHADES][None], [0.0]


def _png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """Of two versions."""
    folder = tmp_path_factory.mktemp("browsed")
    store, _ = published_store(folder, some_vectors())
    publish(store, folder / "second", version_folder(folder / "second", some_vectors(1), latest(store)))
    return store


def _listening(service: Service) -> Iterator[str]:
    """The service's address, on a free port, in a thread."""
    config = uvicorn.Config(service.app, port=0, lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def address(store: LocalStore) -> Iterator[str]:
    with small_service(
        store, uploads=cast(Uploads, _Shades()), picture=lambda item_id: _png(int(item_id[5:]))
    ) as service:
        yield from _listening(service)


@pytest.fixture(scope="module")
def guarded(store: LocalStore) -> Iterator[str]:
    with small_service(store, ServeSettings(), (KEY,)) as service:
        yield from _listening(service)


def _names(page: Page) -> list[str]:
    return page.locator("#answers .name").all_text_contents()


def test_item_is_searched_and_its_neighbours_followed(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#status")).to_contain_text("60 items")
    page.get_by_label("or an item").fill("item-7")
    page.get_by_label("Neighbours").fill("5")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#status")).to_contain_text("5 neighbours in")
    first = _names(page)
    assert len(first) == 5
    assert "item-7" not in first
    page.locator("#answers a").first.click()
    expect(page.locator("#asked .name")).to_have_text(first[0])
    page.go_back()
    expect(page.locator("#asked .name")).to_have_text("item-7")
    expect(page.locator("#answers .name").first).to_have_text(first[0])


def test_address_holds_what_is_asked(page: Page, address: str) -> None:
    page.goto(f"{address}/#item=item-3&k=4&where=item_id+%3C+%27item-3%27")
    expect(page.locator("#answers li")).to_have_count(4)
    assert all(name < "item-3" for name in _names(page))
    expect(page.get_by_label("Only where")).to_have_value("item_id < 'item-3'")


def test_upload_is_searched(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("A picture or sound").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": _png(9)}
    )
    expect(page.locator("#asked .name")).to_have_text("a.png")
    expect(page.locator("#answers li")).to_have_count(24)
    page.get_by_label("A picture or sound").set_input_files(
        {"name": "b.txt", "mimeType": "text/plain", "buffer": b"no"}
    )
    expect(page.get_by_role("alert")).to_have_text("unsupported: this is no picture")


def test_picture_that_is_dropped_is_searched(page: Page, address: str) -> None:
    page.goto(address)
    data = page.evaluate_handle(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            return data;
        }""",
        list(_png(9)),
    )
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    expect(page.locator("#asked .name")).to_have_text("dropped.png")


def test_condition_is_kept_and_a_wrong_one_is_told(page: Page, address: str) -> None:
    page.goto(f"{address}/#item=item-7")
    page.get_by_label("Only where").fill("colour = 'blue'")
    page.keyboard.press("Enter")
    expect(page.locator(".none")).to_have_text("No match: no item is left.")
    page.get_by_label("Only where").fill("size = 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("there is no column 'size'")


def test_two_versions_are_compared(page: Page, address: str, store: LocalStore) -> None:
    page.goto(f"{address}/#item=item-7&k=6")
    expect(page.locator("#answers li")).to_have_count(6)
    other = page.locator("#compare option").nth(1).get_attribute("value")
    page.get_by_label("Compare with").select_option(other)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".pair h2").first).to_have_text(f"In {latest(store)}")
    expect(page.locator(".pair h2").nth(1)).to_have_text(f"In {other}")
    expect(page.locator(".pair li")).to_have_count(12)
    both = re.search(r"(\d+) of them in both", page.locator("#status").inner_text())
    assert both is not None
    expect(page.locator(".card.new")).to_have_count(12 - 2 * int(both[1]))


def test_keys_alone_are_enough(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#status")).to_contain_text("60 items")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "item":
            break
    page.keyboard.type("item-7")
    page.keyboard.press("Enter")
    expect(page.locator("#asked .name")).to_have_text("item-7")
    expect(page.locator("#results")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#answers a").first).to_be_focused()
    chosen = _names(page)[0]
    page.keyboard.press("Enter")
    expect(page.locator("#asked .name")).to_have_text(chosen)


def test_ids_are_suggested_while_they_are_typed(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("or an item").press_sequentially("item-5")
    expect(page.locator("#items option")).to_have_count(11)


def test_phone_shows_all_without_scrolling_sideways(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"{address}/#item=item-7&k=6")
    expect(page.locator("#answers li")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for field in page.locator("form#query input, form#query button, form#query select").all():
        box = field.bounding_box()
        assert box is None or box["height"] >= 44
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["/", "/#item=item-7&k=6", "/#item=item-7&where=colour+%3D+%27blue%27", "/#item=nobody", "/docs"]
)
def test_axe_finds_nothing(browser: Browser, address: str, scheme: Any, path: str) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{address}{path}")
    page.wait_for_load_state("networkidle")
    found = Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()
    context.close()


def test_key_is_asked_for_once(page: Page, guarded: str) -> None:
    page.goto(f"{guarded}/#item=item-7&k=3")
    dialog = page.get_by_role("dialog", name="This service asks for a key")
    expect(dialog).to_be_visible()
    page.get_by_role("textbox", name="Key").fill(KEY.decode())
    page.keyboard.press("Enter")
    expect(page.locator("#answers li")).to_have_count(3)
    page.reload()
    expect(page.locator("#answers li")).to_have_count(3)


def test_answers_of_others_are_not_run_as_code(page: Page, address: str) -> None:
    page.goto(f"{address}/#item=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E")
    expect(page.get_by_role("alert")).to_contain_text("holds no item '<img src=x onerror=alert(1)>'")
    assert page.locator("#problem img").count() == 0
